package ordering_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/uuid"

	"speedybites/internal/ordering"
)

// FuzzPrice makes requests and menus out of any bytes. Whatever they are, nothing panics, and an accepted order is the
// sum of its items at the menu's prices.
func FuzzPrice(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, []byte{0, 0, 4, 26, 0, 3, 0, 0, 9, 9, 1, 3}, "Here", "", true)
	f.Add([]byte{0, 200}, []byte{255, 255, 255, 255, 1, 0}, "\x00", "\xff", false)
	f.Fuzz(func(t *testing.T, wanted, sold []byte, address, note string, open bool) {
		menu := map[uuid.UUID]ordering.MenuItem{}
		for i := 0; i+6 <= len(sold); i += 6 {
			menu[id(byte(i/6))] = ordering.MenuItem{
				Name: "Item", PriceCents: int64(binary.BigEndian.Uint32(sold[i:]) % 10_000_001),
				Currency: []string{"USD", "EUR"}[sold[i+4]&1], Available: sold[i+5]%4 != 0,
			}
		}
		n := ordering.NewOrder{RestaurantID: id(255), DeliveryAddress: address, Note: note}
		for i := 0; i+2 <= len(wanted); i += 2 {
			n.Items = append(n.Items, ordering.NewItem{MenuItemID: id(wanted[i]), Quantity: int(int8(wanted[i+1]))})
		}
		o, err := ordering.Price(n, open, menu)
		if err != nil {
			return
		}
		var sum int64
		for i, item := range o.Items {
			sold := menu[item.MenuItemID]
			if item.UnitPriceCents != sold.PriceCents || sold.Currency != o.Currency || !sold.Available {
				t.Errorf("item %d: got %+v from %+v", i, item, sold)
			}
			if item.MenuItemID != n.Items[i].MenuItemID || item.Quantity != n.Items[i].Quantity {
				t.Errorf("item %d: got %+v for %+v", i, item, n.Items[i])
			}
			sum += int64(item.Quantity) * item.UnitPriceCents
		}
		if o.TotalCents != sum || !open || len(o.Items) != len(n.Items) || len(o.Items) == 0 || len(o.Items) > 50 {
			t.Errorf("accepted %+v for %+v", o, n)
		}
	})
}

func id(n byte) uuid.UUID {
	if n == 0 {
		return uuid.Nil
	}
	return uuid.UUID{0: 1, 15: n}
}
