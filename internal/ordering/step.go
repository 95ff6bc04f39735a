package ordering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// step is one change of an order's status.
type step struct{ from, to Status }

// steps is the life of an order: every legal step, and who may take it. The database knows the steps as well, and refuses
// others (orders_status_step).
var steps = map[step][]string{
	{StatusPlaced, StatusAccepted}:      {roleOwner, roleAdmin},
	{StatusPlaced, StatusRejected}:      {roleOwner, roleAdmin},
	{StatusPlaced, StatusCancelled}:     {roleCustomer, roleOwner, roleAdmin},
	{StatusAccepted, StatusCancelled}:   {roleOwner, roleAdmin},
	{StatusAccepted, StatusPreparing}:   {roleOwner, roleAdmin},
	{StatusPreparing, StatusReady}:      {roleOwner, roleAdmin},
	{StatusReady, StatusDelivering}:     {roleOwner, roleAdmin},
	{StatusDelivering, StatusDelivered}: {roleOwner, roleAdmin},
}

// Errors of Step.
var (
	// ErrStepForbidden means that the actor's role never gives orders this status.
	ErrStepForbidden = errors.New("this role may not give orders this status")
	// ErrIllegalStep means that the order cannot go from its status to the one that is asked for; see StepError.
	ErrIllegalStep = errors.New("illegal step of an order")
)

// StepError is ErrIllegalStep with what was asked of which order.
type StepError struct{ From, To Status }

// Error names both statuses.
func (e *StepError) Error() string {
	return fmt.Sprintf("%v: from %s to %s", ErrIllegalStep, e.From, e.To)
}

// Is makes a StepError an ErrIllegalStep.
func (e *StepError) Is(target error) bool { return target == ErrIllegalStep }

// check says whether role may take the step.
func (s step) check(role string) error {
	roles, legal := steps[s]
	if legal && slices.Contains(roles, role) {
		return nil
	}
	for other, roles := range steps {
		if other.to == s.to && slices.Contains(roles, role) {
			return &StepError{From: s.from, To: s.to}
		}
	}
	return ErrStepForbidden
}

// Step gives an order the status to, exactly once however often the transaction has to be repeated, and returns the order
// as that left it. It fails with validation.Errors for an unknown status, with ErrNotFound where the actor may not see the
// order, with ErrStepForbidden, or with a StepError.
func (s *Service) Step(ctx context.Context, by audit.Actor, id uuid.UUID, to Status) (Order, error) {
	var errs validation.Errors
	if !slices.Contains(statuses(), to) {
		errs.Add("status", "must be the status of an order")
		return Order{}, errs
	}
	operation, err := uuid.NewV7()
	if err != nil {
		return Order{}, fmt.Errorf("draw operation id: %w", err)
	}
	c := stepChange{by: by, operationID: operation, orderID: id, to: to}
	err = s.db.Write(ctx, "orders.step", c.run)
	if postgres.Violation(err) == "orders_status_step" {
		// The row was locked and checked: the rules here and in the schema differ.
		return Order{}, fmt.Errorf("the schema refuses %s of order %s: %w", to, id, err)
	}
	if err != nil {
		return Order{}, fmt.Errorf("step of order %s to %s: %w", id, to, err)
	}
	s.metrics.reached(to)
	return c.order, nil
}

// stepChange is the transaction of one Step. Its identity is drawn once; run may run several times.
type stepChange struct {
	by          audit.Actor
	operationID uuid.UUID
	orderID     uuid.UUID
	to          Status

	order Order // the result of the last run
}

// lockOrder waits for other steps of the order, and for a lost COMMIT of this one that is still under way.
const lockOrder = ` FOR UPDATE OF o`

const selectStepDone = `SELECT at FROM audit_log WHERE operation_id = $1`

const updateStatus = `UPDATE orders SET status = $2, updated_at = now() WHERE id = $1 RETURNING updated_at`

func (c *stepChange) run(ctx context.Context, tx *postgres.Tx) error {
	order, done, err := c.lock(ctx, tx)
	if err != nil {
		return err
	}
	c.order = order
	if done != nil { // an earlier attempt is in; other steps may have followed it by now
		c.order.Status, c.order.UpdatedAt = c.to, done.UTC()
		return nil
	}
	from := order.Status
	if err := (step{from, c.to}).check(c.by.Role); err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(updateStatus, c.orderID, c.to).QueryRow(func(row pgx.Row) error { return row.Scan(&c.order.UpdatedAt) })
	err = audit.Queue(b, audit.Entry{
		OperationID: c.operationID, Actor: c.by, Action: stepAction(c.to), Entity: "order", EntityID: c.orderID,
		Before: statusView{from}, After: statusView{c.to},
	})
	if err != nil {
		return err
	}
	if err := tx.CommitWith(ctx, b); err != nil {
		return err
	}
	c.order.Status, c.order.UpdatedAt = c.to, c.order.UpdatedAt.UTC()
	return nil
}

// lock keeps the order's row for this transaction, if the actor may see it, and looks behind it for an earlier attempt of
// this step: when that was, nil if there is none. The lock is a write, so that COMMIT waits for the standbys either way.
func (c *stepChange) lock(ctx context.Context, tx *postgres.Tx) (o Order, done *time.Time, err error) {
	v := Viewer{ID: c.by.ID, Role: c.by.Role}
	visible := v.visible()
	if visible == "" {
		return Order{}, nil, ErrNotFound
	}
	b := &pgx.Batch{}
	b.Queue(orderColumns+visible+oneOrder+lockOrder, v.ID, c.orderID).Query(func(rows pgx.Rows) (err error) {
		o, err = pgx.CollectExactlyOneRow(rows, scanOrder)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		return err
	})
	b.Queue(selectStepDone, c.operationID).Query(func(rows pgx.Rows) error {
		at, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
		if len(at) > 0 {
			done = &at[0]
		}
		return err
	})
	err = tx.SendBatch(ctx, b).Close()
	return o, done, err
}

func stepAction(to Status) string {
	if to == StatusCancelled {
		return "cancel"
	}
	return "status"
}

// statusView is a status as the audit log shows it.
type statusView struct {
	Status Status `json:"status"`
}
