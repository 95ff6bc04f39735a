package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrAccount means that there is no user PostgreSQL could run as here: it refuses root, and the unprivileged users
// cannot reach the directory. The error's text says why, and what to do.
var ErrAccount = errors.New("no user to run PostgreSQL as")

// account is whom the programs of PostgreSQL run as.
type account struct {
	name     string
	uid, gid int // owner of the files, as we see it
	// switchUser is for root to become the user above.
	switchUser bool
	// namespace is for root to stay root outside, and be user inner to PostgreSQL, which refuses to be root.
	namespace bool
	inner     int
}

// chooseAccount returns who shall run the server in dir. The owner of the data is bound to be the one, if there are any:
// PostgreSQL works on no others'.
func chooseAccount(ctx context.Context, dir home, b Binaries) (account, error) {
	owner := -1
	info, err := os.Stat(dir.data())
	switch {
	case err == nil:
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return account{}, fmt.Errorf("%w: who owns %s is not to be found out", ErrAccount, dir.data())
		}
		owner = int(stat.Uid)
	case !errors.Is(err, fs.ErrNotExist):
		return account{}, err
	}

	if me := os.Geteuid(); me != 0 {
		if owner >= 0 && owner != me {
			return account{}, fmt.Errorf("%w: %s belongs to user %s; start as that user, or give it to this one (chown -R %d %s)",
				ErrAccount, dir, userName(owner), me, dir)
		}
		return account{name: userName(me), uid: me, gid: os.Getegid()}, nil
	}
	var errs []error
	for _, a := range candidates(owner) {
		if err := a.try(ctx, dir, b); err != nil {
			errs = append(errs, err)
			continue
		}
		return a, nil
	}
	return account{}, fmt.Errorf("%w in %s: %w; choose a directory that other users can reach, or start as another user than root",
		ErrAccount, dir, errors.Join(errs...))
}

// candidates are the accounts root may use, best first.
func candidates(owner int) []account {
	unprivileged := account{name: "nobody", uid: 65534, gid: 65534, switchUser: true}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.Atoi(u.Uid)
			gid, err2 := strconv.Atoi(u.Gid)
			if err1 == nil && err2 == nil {
				unprivileged = account{name: name, uid: uid, gid: gid, switchUser: true}
				break
			}
		}
	}
	if owner > 0 {
		return []account{{name: userName(owner), uid: owner, gid: unprivileged.gid, switchUser: true}}
	}
	var list []account
	if owner < 0 {
		list = append(list, unprivileged)
	}
	if namespaces {
		// initdb wants a name for its user: so one that /etc/passwd knows.
		list = append(list, account{name: "root in a user namespace", namespace: true, inner: unprivileged.uid})
	}
	return list
}

// try runs the account's smallest possible program in the directory.
func (a account) try(ctx context.Context, dir home, b Binaries) error {
	cmd := command(ctx, b.Postgres, "--version")
	cmd.Dir = string(dir)
	cmd.SysProcAttr = a.sysProcAttr()
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	reason := fmt.Errorf("as %s: %w %s", a.name, err, lastLines(out))
	if a.switchUser {
		for _, path := range []string{string(dir), b.Postgres} {
			if closed := closedTo(path); closed != "" {
				reason = fmt.Errorf("as %s: %s is not open to other users (chmod o+x would open it)", a.name, closed)
			}
		}
	}
	return reason
}

// closedTo returns the outermost directory on the way to path, or path itself, that only its owner and group may enter.
func closedTo(path string) string {
	if parent := filepath.Dir(path); parent != path {
		if closed := closedTo(parent); closed != "" {
			return closed
		}
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o001 == 0 {
		return path
	}
	return ""
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
