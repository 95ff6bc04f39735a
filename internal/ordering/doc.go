// Package ordering takes orders.
//
// Placing an order is exactly once, because everything that identifies it is drawn before its transaction, and one row
// of idempotency_keys decides whose order it is. The transaction has two round trips:
//
//  1. claim the key (insert its row, or touch the one that is there and read it) and read the restaurant and the items;
//  2. insert the order, its items and the audit entry, and COMMIT.
//
// What the claim returns decides what happens in between:
//
//	row new, or the old one expired          → this request places the order
//	row there, with the order id drawn here  → an earlier attempt of this request committed and its answer got lost:
//	                                           its order is the result, not a replay
//	row there, other order, same request     → replay: return that order
//	row there, other order, other request    → ErrKeyReused
//
// The insert waits for any transaction that holds the same key, so two attempts, or two instances, never both place. A
// row that is there is always updated, so that the COMMIT after it waits for synchronous standbys just as the original's
// did: what is acknowledged here is as safe as if it had been placed here.
package ordering
