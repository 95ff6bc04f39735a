package ordering

// Queries returns the names of all queries that this package makes, as the database layer's metrics and spans have them.
func Queries() []string {
	return []string{"orders.place", "orders.order", "orders.list", "orders.step", "orders.events", "orders.delete_expired_keys"}
}
