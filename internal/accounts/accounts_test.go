package accounts_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"speedybites/internal/accounts"
	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/validation/validationtest"
)

type fixture struct {
	db      *postgres.DB
	raw     *pgxpool.Pool
	service *accounts.Service
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	url := pgtest.DB(t)
	f := &fixture{db: dbtest.OpenDefault(t, url), raw: dbtest.Raw(t, url)}
	f.service = newService(t, f.db, config())
	return f
}

func config() accounts.Config {
	return accounts.Config{TokenSecret: []byte(strings.Repeat("s", 32)), TokenTTL: time.Hour}
}

func newService(t *testing.T, db *postgres.DB, cfg accounts.Config) *accounts.Service {
	t.Helper()
	s, err := accounts.New(db, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) count(t *testing.T, from string, args ...any) (n int) {
	t.Helper()
	if err := f.raw.QueryRow(t.Context(), "SELECT count(*) FROM "+from, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func ada() accounts.Registration {
	return accounts.Registration{Email: "Ada@Example.com", Password: "correct horse", Name: "Ada"}
}

func TestRegister(t *testing.T) {
	f := newFixture(t)
	session, err := f.service.Register(t.Context(), "request-1", ada())
	if err != nil {
		t.Fatal(err)
	}
	u := session.User
	want := accounts.User{ID: u.ID, Email: "Ada@Example.com", Name: "Ada", Role: accounts.Customer, CreatedAt: u.CreatedAt}
	if diff := cmp.Diff(want, u); diff != "" || u.ID.Version() != 7 || u.CreatedAt.Location() != time.UTC {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if p, err := f.service.Authenticate(session.Token); err != nil || p != (accounts.Principal{ID: u.ID, Role: accounts.Customer, ExpiresAt: session.ExpiresAt}) {
		t.Errorf("got %v, %v of the new token", p, err)
	}

	t.Run("IsAuditedWithoutSecrets", func(t *testing.T) {
		var entry string
		err := f.raw.QueryRow(t.Context(), `SELECT to_jsonb(a) FROM audit_log a WHERE actor_id = $1 AND entity_id = $1
			AND action = 'register' AND entity = 'user' AND request_id = 'request-1'`, u.ID).Scan(&entry)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(entry, "argon2") || strings.Contains(entry, "correct horse") {
			t.Errorf("got a secret in %s", entry)
		}
	})

	t.Run("EmailTakenWhateverItsSpelling", func(t *testing.T) {
		for _, email := range []string{"Ada@Example.com", "ada@example.com", "ADA@EXAMPLE.COM"} {
			r := ada()
			r.Email = email
			if _, err := f.service.Register(t.Context(), "", r); !errors.Is(err, accounts.ErrEmailTaken) {
				t.Errorf("%s: got %v, want %v", email, err, accounts.ErrEmailTaken)
			}
		}
		if users, entries := f.count(t, "users"), f.count(t, "audit_log"); users != 1 || entries != 1 {
			t.Errorf("got %d users and %d audit entries, want 1 of each", users, entries)
		}
	})

	t.Run("ConcurrentlyOnlyOne", func(t *testing.T) {
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() {
				r := ada()
				r.Email = "grace@example.com"
				_, errs[i] = f.service.Register(t.Context(), "", r)
			})
		}
		wg.Wait()
		registered := 0
		for _, err := range errs {
			if err == nil {
				registered++
			} else if !errors.Is(err, accounts.ErrEmailTaken) {
				t.Errorf("got %v, want %v", err, accounts.ErrEmailTaken)
			}
		}
		if registered != 1 {
			t.Errorf("got %d registered, want 1", registered)
		}
	})
}

// TestStoreRepeated runs the transaction of one registration again with its ids, as after a COMMIT whose answer is lost.
func TestStoreRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := accounts.NewUser(ada(), "hash")
	if err := f.db.Write(t.Context(), "test", n.Store); err != nil {
		t.Fatal(err)
	}
	first := n.User()
	// The name is not for the taking, but it is this user's own.
	for range 2 {
		if err := f.db.Write(t.Context(), "test", n.Store); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, n.User()); diff != "" {
			t.Errorf("repeated (-first +again):\n%s", diff)
		}
	}
	if users, entries := f.count(t, "users"), f.count(t, "audit_log"); users != 1 || entries != 1 {
		t.Errorf("got %d users and %d audit entries, want 1 of each", users, entries)
	}
}

func TestRegisterRefuses(t *testing.T) {
	f := newFixture(t)
	tests := map[string]struct {
		change func(*accounts.Registration)
		fields []string
	}{
		"Nothing":       {func(r *accounts.Registration) { *r = accounts.Registration{} }, []string{"email", "password", "name"}},
		"NoAddress":     {func(r *accounts.Registration) { r.Email = "ada" }, []string{"email"}},
		"DisplayName":   {func(r *accounts.Registration) { r.Email = "Ada <ada@example.com>" }, []string{"email"}},
		"AngleBrackets": {func(r *accounts.Registration) { r.Email = "<ada@example.com>" }, []string{"email"}},
		"Comment":       {func(r *accounts.Registration) { r.Email = "ada@example.com (Ada)" }, []string{"email"}},
		"TwoAddresses":  {func(r *accounts.Registration) { r.Email = "a@example.com, b@example.com" }, []string{"email"}},
		"BlankBefore":   {func(r *accounts.Registration) { r.Email = " ada@example.com" }, []string{"email"}},
		"LongEmail":     {func(r *accounts.Registration) { r.Email = strings.Repeat("a", 243) + "@example.com" }, []string{"email"}},
		"NULInEmail":    {func(r *accounts.Registration) { r.Email = "a\x00@example.com" }, []string{"email"}},
		"ShortPassword": {func(r *accounts.Registration) { r.Password = "1234567" }, []string{"password"}},
		"LongPassword":  {func(r *accounts.Registration) { r.Password = strings.Repeat("p", 129) }, []string{"password"}},
		"LongName":      {func(r *accounts.Registration) { r.Name = strings.Repeat("n", 121) }, []string{"name"}},
		"LineBreak":     {func(r *accounts.Registration) { r.Name = "Ada\nLovelace" }, []string{"name"}},
		"AdminOverHTTP": {func(r *accounts.Registration) { r.Role = accounts.Admin }, []string{"role"}},
		"UnknownRole":   {func(r *accounts.Registration) { r.Role = "chef" }, []string{"role"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := ada()
			test.change(&r)
			_, err := f.service.Register(t.Context(), "", r)
			validationtest.WantFields(t, err, test.fields...)
		})
	}
	if users := f.count(t, "users"); users != 0 {
		t.Errorf("got %d users, want 0", users)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := ada()
	_, err := f.service.Create(t.Context(), r)
	validationtest.WantFields(t, err, "role")
	r.Role = accounts.Admin
	u, err := f.service.Create(t.Context(), r)
	if err != nil || u.Role != accounts.Admin {
		t.Fatalf("got %+v, %v, want an admin", u, err)
	}
	if n := f.count(t, `audit_log WHERE actor_id IS NULL AND actor_role = 'system' AND entity_id = $1`, u.ID); n != 1 {
		t.Errorf("got %d audit entries by the system, want 1", n)
	}
	if _, err := f.service.Create(t.Context(), r); !errors.Is(err, accounts.ErrEmailTaken) {
		t.Errorf("got %v, want %v", err, accounts.ErrEmailTaken)
	}
}

func TestLogin(t *testing.T) {
	f := newFixture(t)
	registered, err := f.service.Register(t.Context(), "", ada())
	if err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"Ada@Example.com", "ada@example.com"} {
		session, err := f.service.Login(t.Context(), email, "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(registered.User, session.User); diff != "" {
			t.Errorf("user (-registered +logged in):\n%s", diff)
		}
	}
	for name, attempt := range map[string][2]string{
		"WrongPassword": {"ada@example.com", "correct horsf"},
		"OtherCase":     {"ada@example.com", "Correct horse"},
		"UnknownEmail":  {"eve@example.com", "correct horse"},
		"NoEmail":       {"ada", "correct horse"},
		"NUL":           {"ada\x00@example.com", "correct\x00horse"},
		"InvalidUTF8":   {"ada\xff@example.com", "\xff"},
	} {
		if _, err := f.service.Login(t.Context(), attempt[0], attempt[1]); !errors.Is(err, accounts.ErrBadCredentials) {
			t.Errorf("%s: got %v, want %v", name, err, accounts.ErrBadCredentials)
		}
	}
	_, err = f.service.Login(t.Context(), "", "")
	validationtest.WantFields(t, err, "email", "password")

	t.Run("UnusableHash", func(t *testing.T) {
		if _, err := f.raw.Exec(t.Context(), `UPDATE users SET password_hash = '!'`); err != nil {
			t.Fatal(err)
		}
		_, err := f.service.Login(t.Context(), "ada@example.com", "correct horse")
		if !errors.Is(err, accounts.ErrBadCredentials) {
			t.Errorf("got %v, want %v", err, accounts.ErrBadCredentials)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]accounts.Config{
		"ShortSecret": {TokenSecret: []byte("hunter2"), TokenTTL: time.Hour},
		"NoLifetime":  {TokenSecret: config().TokenSecret},
	} {
		if _, err := accounts.New(nil, cfg, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error without the secret", name, err)
		}
	}
}
