package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"speedybites/internal/pgtest"
)

// TestCatalogChanges changes and deletes over HTTP what an owner has, with the rules for who may and with If-Match.
func TestCatalogChanges(t *testing.T) {
	t.Parallel()
	s := start(t, pgtest.Server(t).URL())
	k := s.kitchen()
	customer := []string{"Authorization", "Bearer " + s.customer()}
	stranger := []string{"Authorization", "Bearer " + s.owner()}
	restaurant, item := "/api/restaurants/"+k.restaurantID, "/api/menu-items/"+k.menuItemID
	want := func(what string, a answer, status int, parts ...string) answer {
		t.Helper()
		if a.status != status {
			t.Errorf("%s: got %d %s, want %d", what, a.status, a.body, status)
		}
		for _, part := range parts {
			if !strings.Contains(a.body, part) {
				t.Errorf("%s: %s has no %s", what, a.body, part)
			}
		}
		return a
	}
	for _, path := range []string{restaurant, item} {
		for name, header := range map[string][]string{"another owner": stranger, "a customer": customer} {
			want(name+" changes "+path, s.call("PATCH", path, map[string]any{"name": "Mine"}, header...), http.StatusForbidden)
			want(name+" deletes "+path, s.call("DELETE", path, nil, header...), http.StatusForbidden)
		}
		want("nobody", s.call("PATCH", path, map[string]any{"name": "Mine"}), http.StatusUnauthorized)
		want("null is as good as absent", s.call("PATCH", path, map[string]any{"name": nil}, k.owner...), http.StatusOK)
		want("unknown field", s.call("PATCH", path, map[string]any{"id": "x"}, k.owner...), http.StatusBadRequest, "id")
		want("empty name", s.call("PATCH", path, map[string]any{"name": " "}, k.owner...), http.StatusUnprocessableEntity, `"name"`)
		want("wrong type", s.call("PATCH", path, map[string]any{"name": 1}, k.owner...), http.StatusBadRequest, "name")
	}
	want("price", s.call("PATCH", item, map[string]any{"priceCents": -1, "currency": "usd"}, k.owner...),
		http.StatusUnprocessableEntity, "priceCents", "currency")
	for _, path := range []string{"/api/restaurants/" + k.menuItemID, "/api/menu-items/" + k.restaurantID, "/api/menu-items/x"} {
		want("unknown "+path, s.call("PATCH", path, map[string]any{"name": "New"}, k.owner...), http.StatusNotFound)
	}

	read := want("read", s.call("GET", restaurant, nil), http.StatusOK)
	etag := read.header.Get("ETag")
	want("have it already", s.call("GET", restaurant, nil, "If-None-Match", etag), http.StatusNotModified)
	want("have another", s.call("GET", restaurant, nil, "If-None-Match", `"other"`), http.StatusOK)
	menu := want("menu", s.call("GET", restaurant+"/menu", nil), http.StatusOK, `"priceCents":100`)
	want("have the menu already", s.call("GET", restaurant+"/menu", nil, "If-None-Match", `"x", W/`+menu.header.Get("ETag")), http.StatusNotModified)

	with := func(header []string, more ...string) []string { return append(append([]string{}, header...), more...) }
	changed := want("change", s.call("PATCH", restaurant, map[string]any{"open": false, "description": "Closed today"}, with(k.owner, "If-Match", etag)...),
		http.StatusOK, `"open":false`, `"description":"Closed today"`, `"name":"Kitchen"`)
	if changed.header.Get("ETag") == etag || changed.header.Get("ETag") != s.call("GET", restaurant, nil).header.Get("ETag") {
		t.Errorf("the tag after the change is %s, before it %s", changed.header.Get("ETag"), etag)
	}
	for _, match := range []string{etag, `"x"`, "W/" + changed.header.Get("ETag"), "nonsense"} {
		want("If-Match "+match, s.call("PATCH", restaurant, map[string]any{"open": true}, with(k.owner, "If-Match", match)...), http.StatusPreconditionFailed)
		want("If-Match "+match, s.call("DELETE", restaurant, nil, with(k.owner, "If-Match", match)...), http.StatusPreconditionFailed)
	}
	want("nothing", s.call("PATCH", restaurant, map[string]any{}, k.owner...), http.StatusOK, `"open":false`)
	want("If-Match *", s.call("PATCH", restaurant, map[string]any{"open": true}, with(k.owner, "If-Match", "*")...), http.StatusOK, `"open":true`)
	want("price", s.call("PATCH", item, map[string]any{"priceCents": 250, "available": true}, k.owner...), http.StatusOK, `"priceCents":250`)
	placed := k.order(s, customer)
	want("the new price", s.call("GET", "/api/orders/"+placed, nil, customer...), http.StatusOK, `"totalCents":250`)

	want("delete the item", s.call("DELETE", item, nil, k.owner...), http.StatusNoContent)
	want("delete it again", s.call("DELETE", item, nil, k.owner...), http.StatusNotFound)
	want("the menu is empty", s.call("GET", restaurant+"/menu", nil), http.StatusOK, `"data":[]`)
	want("a body", s.call("DELETE", restaurant, map[string]any{"x": 1}, k.owner...), http.StatusBadRequest)
	want("delete the restaurant", s.call("DELETE", restaurant, nil, k.owner...), http.StatusNoContent)
	for _, path := range []string{restaurant, restaurant + "/menu"} {
		want("deleted "+path, s.call("GET", path, nil), http.StatusNotFound)
	}
	if a := s.call("GET", "/api/restaurants", nil); strings.Contains(a.body, k.restaurantID) {
		t.Errorf("a deleted restaurant is listed: %s", a.body)
	}
	want("add to a deleted one", s.call("POST", restaurant+"/menu", map[string]any{"name": "Late", "priceCents": 1}, k.owner...), http.StatusNotFound)
	want("order from a deleted one", s.call("POST", "/api/orders", map[string]any{
		"restaurantId": k.restaurantID, "items": []any{map[string]any{"menuItemId": k.menuItemID, "quantity": 1}}, "deliveryAddress": "here",
	}, customer...), http.StatusUnprocessableEntity, "restaurantId")
	for name, header := range map[string][]string{"customer": customer, "owner": k.owner} {
		want("the order stays for its "+name, s.call("GET", "/api/orders/"+placed, nil, header...), http.StatusOK, `"name":"Dish"`)
	}

	audit := func(action, entity string) int {
		return strings.Count(s.log(t, "audit.log"), fmt.Sprintf(`"action":"%s","entity":"%s"`, action, entity))
	}
	eventually(t, "an audit line for each change and none else", func() bool {
		return audit("update", "restaurant") == 2 && audit("update", "menuItem") == 1 && audit("delete", "menuItem") == 1 && audit("delete", "restaurant") == 1
	})
}

// TestLostUpdate has many change one restaurant at once, each with the version that all have read: one wins.
func TestLostUpdate(t *testing.T) {
	t.Parallel()
	s := start(t, pgtest.Server(t).URL())
	k := s.kitchen()
	path := "/api/restaurants/" + k.restaurantID
	etag := s.call("GET", path, nil).header.Get("ETag")
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for i := range 20 {
		wg.Go(func() {
			a := s.call("PATCH", path, map[string]any{"name": fmt.Sprint("Name ", i)}, append([]string{"If-Match", etag}, k.owner...)...)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	wg.Wait()
	if statuses[http.StatusOK] != 1 || statuses[http.StatusPreconditionFailed] != 19 {
		t.Errorf("answers: %v, want one 200 and 19 times 412", statuses)
	}
}

// TestAudit lists changes over HTTP: for admins only, by entity, id and actor, page by page.
func TestAudit(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL())
	k := s.kitchen()
	for i := range 5 {
		s.call("PATCH", "/api/restaurants/"+k.restaurantID, map[string]any{"name": fmt.Sprint("Name ", i)}, k.owner...)
	}
	conn := connect(t, server.AdminURL(""))
	token := s.register("owner")
	if _, err := conn.Exec(t.Context(), "update users set role = 'admin' where id = (select id from users order by id desc limit 1)"); err != nil {
		t.Fatal(err)
	}
	if a := s.call("GET", "/api/audit", nil, "Authorization", "Bearer "+token); a.status != http.StatusForbidden {
		t.Errorf("an owner: %d", a.status)
	}
	var email string
	if err := conn.QueryRow(t.Context(), "select email from users where role = 'admin'").Scan(&email); err != nil {
		t.Fatal(err)
	}
	var session struct{ Token string }
	s.call("POST", "/api/auth/login", map[string]any{"email": email, "password": "correct horse"}).decode(t, &session)
	admin := []string{"Authorization", "Bearer " + session.Token}

	type record struct {
		ID, Action, Entity, EntityID, ActorRole string
		ActorID                                 *string
		Before, After                           map[string]any
	}
	list := func(query string) (all []record) {
		t.Helper()
		cursor := ""
		for range 50 {
			var page struct {
				Data       []record
				NextCursor *string
			}
			a := s.call("GET", "/api/audit?limit=2&"+query+cursor, nil, admin...)
			a.decode(t, &page)
			if a.status != http.StatusOK || len(page.Data) > 2 {
				t.Fatalf("%s: %d %s", query, a.status, a.body)
			}
			all = append(all, page.Data...)
			if page.NextCursor == nil {
				return all
			}
			cursor = "&cursor=" + *page.NextCursor
		}
		t.Fatalf("%s: no end", query)
		return nil
	}
	all := list("entityId=" + k.restaurantID)
	if len(all) != 6 || all[0].Action != "update" || all[5].Action != "create" || all[0].Before["name"] != "Name 3" || all[0].After["name"] != "Name 4" || all[5].Before != nil {
		t.Errorf("changes of the restaurant: %+v", all)
	}
	for i := range all[1:] {
		if all[i].ID <= all[i+1].ID {
			t.Errorf("not newest first: %s before %s", all[i].ID, all[i+1].ID)
		}
	}
	if got := list("entity=menuItem"); len(got) != 1 || got[0].EntityID != k.menuItemID {
		t.Errorf("menu items: %+v", got)
	}
	if got := list("actorId=" + *all[0].ActorID); len(got) != 8 { // registered, restaurant, item, five changes
		t.Errorf("the owner's changes: %+v", got)
	}
	if got := list("entity=restaurant&actorId=" + k.menuItemID); len(got) != 0 {
		t.Errorf("nobody's changes: %+v", got)
	}
	for _, query := range []string{"entityId=x", "actorId=1", "limit=0", "cursor=x", "entity=" + strings.Repeat("x", 61)} {
		if a := s.call("GET", "/api/audit?"+query, nil, admin...); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, query[:strings.IndexByte(query, '=')]) {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}
