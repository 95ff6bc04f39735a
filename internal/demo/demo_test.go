package demo_test

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"speedybites/internal/accounts"
	"speedybites/internal/catalog"
	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/pgtest"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	db := dbtest.OpenDefault(t, pgtest.DB(t))
	var (
		wg     sync.WaitGroup
		loaded atomic.Int32
	)
	for range 3 {
		wg.Go(func() {
			did, err := demo.Load(t.Context(), db)
			if err != nil {
				t.Error(err)
			}
			if did {
				loaded.Add(1)
			}
		})
	}
	wg.Wait()
	if loaded.Load() != 1 {
		t.Errorf("got it loaded %d times, want once", loaded.Load())
	}
	service := catalog.New(db)
	list, next, err := service.Restaurants(t.Context(), "", "", catalog.Page{})
	if err != nil || len(list) < 3 || next != "" || list[0].ID != demo.RestaurantID() {
		t.Fatalf("got %d restaurants, the first %v, next %q, %v", len(list), list[0].ID, next, err)
	}
	for _, r := range list {
		menu, err := service.Menu(t.Context(), r.ID)
		if err != nil || len(menu) < 3 {
			t.Errorf("%s: got %d menu items, %v", r.Name, len(menu), err)
		}
		if r.ID == demo.RestaurantID() && menu[0].ID != demo.MenuItemID() {
			t.Errorf("got %v first on the menu, want %v", menu[0].ID, demo.MenuItemID())
		}
	}
	cfg := accounts.Config{TokenSecret: []byte(strings.Repeat("s", 32)), TokenTTL: time.Hour}
	users, err := accounts.New(db, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	session, err := users.Login(t.Context(), demo.OwnerEmail, demo.OwnerPassword)
	if err != nil || session.User.Role != accounts.Owner || session.User.ID != list[0].OwnerID {
		t.Errorf("got %+v, %v, want the restaurants' owner", session.User, err)
	}
}

func TestLoadKeepsAway(t *testing.T) {
	t.Parallel()
	url := pgtest.DB(t)
	_, err := dbtest.Raw(t, url).Exec(t.Context(), `
		WITH u AS (INSERT INTO users (id, email, name, role, password_hash)
			VALUES (gen_random_uuid(), 'a@example.com', 'A', 'owner', '!') RETURNING id)
		INSERT INTO restaurants (id, owner_id, name, cuisine, address) SELECT gen_random_uuid(), id, 'Real', 'Any', 'Here' FROM u`)
	if err != nil {
		t.Fatal(err)
	}
	db := dbtest.OpenDefault(t, url)
	if loaded, err := demo.Load(t.Context(), db); err != nil || loaded {
		t.Errorf("got %v, %v, want nothing loaded", loaded, err)
	}
	list, _, err := catalog.New(db).Restaurants(t.Context(), "", "", catalog.Page{})
	if err != nil || len(list) != 1 {
		t.Errorf("got %d restaurants, %v, want the one that was there", len(list), err)
	}
}
