package catalog

// Queries returns the names of all queries that this package makes, as the database layer's metrics and spans have them.
func Queries() []string {
	return []string{
		"catalog.restaurants", "catalog.restaurant", "catalog.menu", "catalog.create_restaurant",
		"catalog.create_menu_item", "catalog.update_restaurant", "catalog.delete_restaurant", "catalog.update_menu_item",
		"catalog.delete_menu_item",
	}
}
