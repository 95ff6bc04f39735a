package demo

import "github.com/google/uuid"

type restaurant struct {
	id                                  uuid.UUID
	name, cuisine, description, address string
	menu                                []menuItem
}

type menuItem struct {
	name, description string
	priceCents        int64
}

// menuItemID is the restaurant's id with the item's number in front of the restaurant's.
func menuItemID(restaurant uuid.UUID, i int) uuid.UUID {
	restaurant[len(restaurant)-3] = byte(i + 1) //nolint:gosec // menus here are short
	return restaurant
}

func restaurants() []restaurant {
	list := []restaurant{
		{
			name: "Margherita & Sons", cuisine: "Italian", address: "12 Harbour Street",
			description: "Pizza from a wood-fired oven, and two kinds of pasta.",
			menu: []menuItem{
				{"Pizza Margherita", "Tomato, mozzarella, basil", 1050},
				{"Pizza Diavola", "Tomato, mozzarella, spicy salami", 1290},
				{"Spaghetti Carbonara", "Guanciale, egg, pecorino", 1340},
				{"Tiramisu", "", 650},
			},
		},
		{
			name: "Sakura Kitchen", cuisine: "Japanese", address: "3 Cherry Lane",
			description: "Ramen at noon, sushi in the evening, both all day on Sundays.",
			menu: []menuItem{
				{"Shoyu Ramen", "Chicken broth, egg, spring onion", 1380},
				{"Salmon Nigiri", "Six pieces", 1190},
				{"Vegetable Gyoza", "Five pieces, with ponzu", 720},
				{"Mochi", "Three kinds", 540},
			},
		},
		{
			name: "Casa Verde", cuisine: "Mexican", address: "48 Market Square",
			description: "Tacos and bowls; everything can be had without meat.",
			menu: []menuItem{
				{"Tacos al Pastor", "Three, with pineapple", 990},
				{"Burrito Bowl", "Rice, beans, guacamole", 1120},
				{"Quesadilla", "Cheese, peppers", 860},
				{"Horchata", "0.4 l", 390},
			},
		},
		{
			name: "Spice Route", cuisine: "Indian", address: "7 Station Road",
			description: "Curries from north to south, bread from the tandoor.",
			menu: []menuItem{
				{"Butter Chicken", "With basmati rice", 1420},
				{"Palak Paneer", "Spinach, fresh cheese", 1260},
				{"Garlic Naan", "", 340},
				{"Mango Lassi", "0.3 l", 420},
			},
		},
		{
			name: "The Daily Burger", cuisine: "American", address: "101 Mill Road",
			description: "Six burgers would be too many to choose from, so there are three.",
			menu: []menuItem{
				{"Classic Burger", "Beef, cheddar, pickles", 1150},
				{"Chicken Burger", "Buttermilk chicken, slaw", 1190},
				{"Garden Burger", "Black beans, avocado", 1090},
				{"Sweet Potato Fries", "", 480},
			},
		},
	}
	for i := range list {
		list[i].id = RestaurantID()
		list[i].id[len(list[i].id)-1] += byte(i)
	}
	return list
}
