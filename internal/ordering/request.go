package ordering

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"speedybites/internal/validation"
)

// Limits; lengths in characters.
const (
	maxItems           = 50
	maxQuantity        = 99
	maxDeliveryAddress = 500
	maxNote            = 500
	maxKey             = 255
)

// validate checks everything that can be checked without the database.
func (n NewOrder) validate(key string) error {
	var errs validation.Errors
	if !validKey(key) {
		errs.Add("Idempotency-Key", fmt.Sprintf("must have 1 to %d printable characters", maxKey))
	}
	if n.RestaurantID == uuid.Nil {
		errs.Add("restaurantId", "is required")
	}
	switch {
	case len(n.Items) == 0:
		errs.Add("items", "is required")
	case len(n.Items) > maxItems:
		errs.Add("items", fmt.Sprintf("must have 1 to %d items", maxItems))
	default:
		n.validateItems(&errs)
	}
	errs.Text("deliveryAddress", n.DeliveryAddress, 1, maxDeliveryAddress)
	errs.Text("note", n.Note, 0, maxNote)
	return errs.Err()
}

func (n NewOrder) validateItems(errs *validation.Errors) {
	seen := make(map[uuid.UUID]bool, len(n.Items))
	for i, item := range n.Items {
		switch {
		case item.MenuItemID == uuid.Nil:
			errs.Add(itemField(i, "menuItemId"), "is required")
		case seen[item.MenuItemID]:
			errs.Add(itemField(i, "menuItemId"), "must not be the same as an earlier item's")
		}
		seen[item.MenuItemID] = true
		errs.Range(itemField(i, "quantity"), int64(item.Quantity), 1, maxQuantity)
	}
}

func itemField(i int, name string) string { return fmt.Sprintf("items[%d].%s", i, name) }

// validKey accepts "", which is no key.
func validKey(key string) bool {
	if !utf8.ValidString(key) || utf8.RuneCountInString(key) > maxKey {
		return false
	}
	for _, r := range key {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// hash identifies the request's content: two requests have the same hash exactly when all their fields are the same,
// however they were spelled as JSON. Lengths go before texts, so that no two requests run together; the first line
// changes when the encoding does.
func (n NewOrder) hash() [sha256.Size]byte {
	b := []byte("speedybites order 1\n")
	b = append(b, n.RestaurantID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(n.Items)))
	for _, item := range n.Items {
		b = append(b, item.MenuItemID[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(item.Quantity)) //nolint:gosec // validated: 1 to 99
	}
	for _, text := range []string{n.DeliveryAddress, n.Note} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	return sha256.Sum256(b)
}

func unknownRestaurant() error {
	return validation.Errors{{Field: "restaurantId", Message: "is not a known restaurant"}}
}
