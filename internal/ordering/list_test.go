package ordering_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"speedybites/internal/ordering"
	"speedybites/internal/validation/validationtest"
)

func TestOrders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	stranger := f.user(t, "customer")
	admin := f.user(t, "admin")
	var newestFirst []uuid.UUID
	for range 5 {
		newestFirst = append([]uuid.UUID{f.place(t, "", f.request()).Order.ID}, newestFirst...)
	}
	other := f.request()
	other.RestaurantID, other.Items = f.otherRestaurant, []ordering.NewItem{{MenuItemID: f.sushi, Quantity: 1}}
	otherID := f.place(t, "", other).Order.ID
	all := append([]uuid.UUID{otherID}, newestFirst...)

	viewers := map[string]struct {
		viewer ordering.Viewer
		want   []uuid.UUID
	}{
		"Customer":          {ordering.Viewer{ID: f.customer, Role: "customer"}, all},
		"OtherCustomer":     {ordering.Viewer{ID: stranger, Role: "customer"}, nil},
		"Owner":             {ordering.Viewer{ID: f.owner, Role: "owner"}, newestFirst},
		"OtherOwner":        {ordering.Viewer{ID: f.otherOwner, Role: "owner"}, []uuid.UUID{otherID}},
		"Admin":             {ordering.Viewer{ID: admin, Role: "admin"}, all},
		"UnknownRole":       {ordering.Viewer{ID: f.customer, Role: "chef"}, nil},
		"CustomerAsAnOwner": {ordering.Viewer{ID: f.customer, Role: "owner"}, nil},
	}
	for name, test := range viewers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{0, 1, 2, len(all), 100} {
				if diff := cmp.Diff(test.want, walk(t, f, test.viewer, limit)); diff != "" {
					t.Errorf("limit %d (-want +got):\n%s", limit, diff)
				}
			}
			for _, id := range all {
				_, err := f.service.Order(t.Context(), test.viewer, id)
				mayView := false
				for _, want := range test.want {
					mayView = mayView || want == id
				}
				if mayView && err != nil || !mayView && !errors.Is(err, ordering.ErrNotFound) {
					t.Errorf("order %v: got %v, may view: %v", id, err, mayView)
				}
			}
		})
	}

	t.Run("UnknownOrder", func(t *testing.T) {
		t.Parallel()
		_, err := f.service.Order(t.Context(), ordering.Viewer{ID: admin, Role: "admin"}, newID(t))
		if !errors.Is(err, ordering.ErrNotFound) {
			t.Errorf("got %v, want %v", err, ordering.ErrNotFound)
		}
	})

	t.Run("BadPage", func(t *testing.T) {
		t.Parallel()
		v := ordering.Viewer{ID: admin, Role: "admin"}
		_, _, err := f.service.Orders(t.Context(), v, ordering.Page{Limit: 101, Cursor: "nonsense"})
		validationtest.WantFields(t, err, "limit", "cursor")
		_, _, err = f.service.Orders(t.Context(), v, ordering.Page{Limit: -1})
		validationtest.WantFields(t, err, "limit")
	})
}

// walk lists page by page and returns the ids.
func walk(t *testing.T, f *fixture, v ordering.Viewer, limit int) (ids []uuid.UUID) {
	t.Helper()
	for cursor := ""; ; {
		list, next, err := f.service.Orders(t.Context(), v, ordering.Page{Limit: limit, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			ids = append(ids, o.ID)
		}
		if next == "" {
			return ids
		}
		cursor = next
	}
}
