package ordering_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/audit"
	"speedybites/internal/ordering"
	"speedybites/internal/validation/validationtest"
)

var allStatuses = []ordering.Status{
	ordering.StatusPlaced, ordering.StatusAccepted, ordering.StatusPreparing, ordering.StatusReady, ordering.StatusDelivering,
	ordering.StatusDelivered, ordering.StatusRejected, ordering.StatusCancelled,
}

// way is how an order comes to each status.
var way = map[ordering.Status][]ordering.Status{
	ordering.StatusPlaced:     {},
	ordering.StatusAccepted:   {ordering.StatusAccepted},
	ordering.StatusPreparing:  {ordering.StatusAccepted, ordering.StatusPreparing},
	ordering.StatusReady:      {ordering.StatusAccepted, ordering.StatusPreparing, ordering.StatusReady},
	ordering.StatusDelivering: {ordering.StatusAccepted, ordering.StatusPreparing, ordering.StatusReady, ordering.StatusDelivering},
	ordering.StatusDelivered: {
		ordering.StatusAccepted, ordering.StatusPreparing, ordering.StatusReady, ordering.StatusDelivering, ordering.StatusDelivered,
	},
	ordering.StatusRejected:  {ordering.StatusRejected},
	ordering.StatusCancelled: {ordering.StatusCancelled},
}

// TestSteps tries every step from every status as everybody, against the documented rules.
func TestSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	owner := audit.Actor{ID: f.owner, Role: "owner", RequestID: "request-2"}
	admin := audit.Actor{ID: f.user(t, "admin"), Role: "admin"}
	stranger := audit.Actor{ID: f.otherOwner, Role: "owner"}
	otherCustomer := audit.Actor{ID: f.user(t, "customer"), Role: "customer"}
	legal := func(from, to ordering.Status, role string) bool {
		switch from {
		case ordering.StatusPlaced:
			return to == ordering.StatusCancelled || (role != "customer" && (to == ordering.StatusAccepted || to == ordering.StatusRejected))
		case ordering.StatusAccepted:
			return role != "customer" && (to == ordering.StatusPreparing || to == ordering.StatusCancelled)
		case ordering.StatusPreparing:
			return role != "customer" && to == ordering.StatusReady
		case ordering.StatusReady:
			return role != "customer" && to == ordering.StatusDelivering
		case ordering.StatusDelivering:
			return role != "customer" && to == ordering.StatusDelivered
		case ordering.StatusDelivered, ordering.StatusRejected, ordering.StatusCancelled:
		}
		return false
	}
	for _, from := range allStatuses {
		order := f.place(t, "", f.request()).Order
		for _, s := range way[from] {
			if _, err := f.service.Step(t.Context(), owner, order.ID, s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		for _, to := range allStatuses {
			for _, by := range []audit.Actor{stranger, otherCustomer} {
				if _, err := f.service.Step(t.Context(), by, order.ID, to); !errors.Is(err, ordering.ErrNotFound) {
					t.Errorf("%s → %s by another %s: got %v, want %v", from, to, by.Role, err, ordering.ErrNotFound)
				}
			}
			for _, by := range []audit.Actor{f.actor(), owner, admin} {
				name := fmt.Sprintf("%s → %s by the %s", from, to, by.Role)
				if legal(from, to, by.Role) {
					continue // below, on orders of their own
				}
				want := ordering.ErrIllegalStep
				if to == ordering.StatusPlaced || (by.Role == "customer" && to != ordering.StatusCancelled) {
					want = ordering.ErrStepForbidden
				}
				if _, err := f.service.Step(t.Context(), by, order.ID, to); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", name, err, want)
				}
			}
		}
		f.legalSteps(t, from, owner, []audit.Actor{f.actor(), owner, admin}, legal)
	}
	_, err := f.service.Step(t.Context(), owner, newID(t), ordering.StatusAccepted)
	if !errors.Is(err, ordering.ErrNotFound) {
		t.Errorf("an unknown order: %v", err)
	}
	_, err = f.service.Step(t.Context(), owner, newID(t), "eaten")
	validationtest.WantFields(t, err, "status")
}

// legalSteps takes every legal step from a status, each with an order of its own.
func (f *fixture) legalSteps(t *testing.T, from ordering.Status, owner audit.Actor, by []audit.Actor,
	legal func(from, to ordering.Status, role string) bool,
) {
	t.Helper()
	for _, to := range allStatuses {
		for _, by := range by {
			if !legal(from, to, by.Role) {
				continue
			}
			order := f.place(t, "", f.request()).Order
			for _, s := range way[from] {
				if _, err := f.service.Step(t.Context(), owner, order.ID, s); err != nil {
					t.Fatalf("%s: %v", s, err)
				}
			}
			got, err := f.service.Step(t.Context(), by, order.ID, to)
			if err != nil {
				t.Errorf("%s → %s by the %s: %v", from, to, by.Role, err)
				continue
			}
			want := order
			want.Status, want.UpdatedAt = to, got.UpdatedAt
			if diff := cmp.Diff(want, got); diff != "" || !got.UpdatedAt.After(order.UpdatedAt) {
				t.Errorf("%s → %s by the %s (-want +got):\n%s", from, to, by.Role, diff)
			}
			read, err := f.service.Order(t.Context(), ordering.Viewer{ID: f.customer, Role: "customer"}, order.ID)
			if diff := cmp.Diff(got, read); diff != "" || err != nil {
				t.Errorf("read back (%v) (-answered +read):\n%s", err, diff)
			}
			entry := fmt.Sprintf(`audit_log WHERE entity_id = '%s' AND actor_id = '%s' AND before->>'status' = '%s' AND after->>'status' = '%s'`,
				order.ID, by.ID, from, to)
			if n := f.count(t, entry); n != 1 {
				t.Errorf("%s → %s by the %s: %d audit entries, want 1", from, to, by.Role, n)
			}
		}
	}
}

// TestStepRepeated runs the transaction of one step again, as after a COMMIT whose answer is lost: also when the order has
// gone on meanwhile.
func TestStepRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	owner := audit.Actor{ID: f.owner, Role: "owner"}
	order := f.place(t, "", f.request()).Order
	c := ordering.NewStepChange(owner, order.ID, ordering.StatusAccepted)
	if err := f.db.Write(t.Context(), "test", c.Run); err != nil {
		t.Fatal(err)
	}
	want := c.Order()
	if _, err := f.service.Step(t.Context(), owner, order.ID, ordering.StatusPreparing); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.db.Write(t.Context(), "test", c.Run); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Order()); diff != "" {
			t.Errorf("repeated (-want +got):\n%s", diff)
		}
	}
	if n := f.count(t, "audit_log WHERE action = 'status'"); n != 2 {
		t.Errorf("%d audit entries, want 2", n)
	}
}

// TestStepsAtOnce has many take the same step: one does, the others are told that it is illegal by now.
func TestStepsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	owner := audit.Actor{ID: f.owner, Role: "owner"}
	order := f.place(t, "", f.request()).Order
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for range 20 {
		wg.Go(func() {
			_, err := f.service.Step(t.Context(), owner, order.ID, ordering.StatusAccepted)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted++
			case !errors.Is(err, ordering.ErrIllegalStep):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}
