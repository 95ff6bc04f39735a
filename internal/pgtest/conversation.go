package pgtest

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
)

// conversation is one session of a client, as the proxy follows it.
type conversation struct {
	proxy *WireProxy
	link  *link

	// The requests' goroutine owns these: who the client is, what its prepared statements and portals stand for, and what
	// has not been passed on yet.
	app                 string
	statements, portals map[string]string
	toServer            []byte

	writing sync.Mutex // held while something is written to the client

	mu sync.Mutex // guards what follows
	// transaction is what the client has had executed since BEGIN; ending is all of the one that it wants to commit.
	transaction, ending string

	failing  string // the SQLSTATE for the next error that the proxy has provoked, "" for none
	rollback int    // how many answers to a ROLLBACK in place of the client's COMMIT are still to come
	last     bool   // the server's side ends with its next ReadyForQuery
}

// beginText finds a BEGIN, rollbackText a ROLLBACK, and commitText a COMMIT: alone, or at the end of a text of several
// statements.
var (
	beginText    = regexp.MustCompile(`(?is)^\s*(begin|start\s+transaction)\b`)
	rollbackText = regexp.MustCompile(`(?is)^\s*(rollback|abort)\b`)
	commitText   = regexp.MustCompile(`(?is)(^|;)\s*(commit|end)(\s+(work|transaction))?\s*;?\s*$`)
)

func newConversation(p *WireProxy, l *link) *conversation {
	return &conversation{proxy: p, link: l, statements: map[string]string{}, portals: map[string]string{}}
}

func (c *conversation) carry() {
	var both sync.WaitGroup
	both.Go(c.requests)
	both.Go(c.answers)
	both.Wait()
}

// message is one message of the protocol: its type, and all its bytes. A client's first has no type.
type message struct {
	kind byte
	raw  []byte
}

func (m message) body() []byte {
	if m.kind == 0 {
		return m.raw[4:]
	}
	return m.raw[5:]
}

// maxMessage is more than any test sends.
const maxMessage = 64 << 20

// readMessage reads a message whose header, with or without a type, has the given size.
func readMessage(r *bufio.Reader, header int) (message, error) {
	m := message{raw: make([]byte, header)}
	if _, err := io.ReadFull(r, m.raw); err != nil {
		return message{}, err
	}
	size := int(binary.BigEndian.Uint32(m.raw[header-4:])) - 4
	if size < 0 || size > maxMessage {
		return message{}, fmt.Errorf("message of %d bytes", size)
	}
	if header > 4 {
		m.kind = m.raw[0]
	}
	m.raw = append(m.raw, make([]byte, size)...)
	_, err := io.ReadFull(r, m.raw[header:])
	return m, err
}

// requests carries what the client says.
func (c *conversation) requests() {
	r := bufio.NewReaderSize(c.link.client, 32<<10)
	err := c.login(r)
	for err == nil {
		if r.Buffered() == 0 && !c.flush() {
			return
		}
		var m message
		if m, err = readMessage(r, 5); err == nil && !c.link.isGone() {
			c.request(m)
		}
	}
	if c.flush() {
		c.proxy.ended(c.link, ToServer, err)
	}
}

// flush passes on what the client has said.
func (c *conversation) flush() bool {
	b := c.toServer
	c.toServer = nil
	return len(b) == 0 || c.proxy.deliver(c.link, ToServer, b)
}

// The first messages of a client that are no introduction.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// login passes on the client's introduction.
func (c *conversation) login(r *bufio.Reader) error {
	for {
		m, err := readMessage(r, 4)
		if err != nil {
			return err
		}
		switch binary.BigEndian.Uint32(m.body()) {
		case sslRequest, gssRequest:
			if !c.proxy.deliver(c.link, ToClient, []byte("N")) {
				return net.ErrClosed
			}
			continue
		case cancelRequest: // which is all of this connection
			c.toServer = m.raw
			return nil
		}
		var startup pgproto3.StartupMessage
		if err := startup.Decode(m.body()); err != nil {
			return err
		}
		c.app = startup.Parameters["application_name"]
		if f := c.proxy.strike(AtLogin, c.app, ""); f != nil && !f.passes() {
			c.breakOff(f)
			return nil
		}
		c.toServer = m.raw
		return nil
	}
}

// request passes on one message of the client, unless a fault strikes at it.
func (c *conversation) request(m message) {
	sql, runs := c.follow(m)
	if runs {
		if f := c.strike(sql); f != nil {
			c.apply(f, m)
			return
		}
	}
	c.toServer = append(c.toServer, m.raw...)
}

// follow keeps track of names, and returns the statement that m has executed, if it does.
func (c *conversation) follow(m message) (sql string, runs bool) {
	switch m.kind {
	case 'P':
		var parse pgproto3.Parse
		if parse.Decode(m.body()) == nil {
			c.statements[parse.Name] = parse.Query
		}
	case 'B':
		var bind pgproto3.Bind
		if bind.Decode(m.body()) == nil {
			c.portals[bind.DestinationPortal] = c.statements[bind.PreparedStatement]
		}
	case 'E':
		var execute pgproto3.Execute
		if execute.Decode(m.body()) == nil {
			return c.portals[execute.Portal], true
		}
	case 'Q':
		var query pgproto3.Query
		if query.Decode(m.body()) == nil {
			return query.String, true
		}
	}
	return "", false
}

// strike returns the fault that strikes at a statement, or nil.
func (c *conversation) strike(sql string) *Fault {
	commits, whole := c.transact(sql)
	if !commits {
		return c.proxy.strike(AtStatement, c.app, sql)
	}
	if f := c.proxy.strike(BeforeCommit, c.app, whole); f != nil {
		return f
	}
	return c.proxy.strike(CommitSent, c.app, whole)
}

// transact keeps track of the transaction that a statement belongs to. It returns all of it when that is a COMMIT.
func (c *conversation) transact(sql string) (commits bool, whole string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transaction != "" || beginText.MatchString(sql) {
		c.transaction += sql + "\n"
	}
	commits = commitText.MatchString(sql)
	if commits {
		c.ending = cmp.Or(c.transaction, sql)
	}
	if commits || rollbackText.MatchString(sql) {
		c.transaction = ""
	}
	return commits, c.ending
}

// answers carries what the server says.
func (c *conversation) answers() {
	r := bufio.NewReaderSize(c.link.server, 32<<10)
	var toClient []byte
	for {
		m, err := readMessage(r, 5)
		if err != nil {
			if c.say(toClient) {
				c.proxy.ended(c.link, ToClient, err)
			}
			return
		}
		toClient = append(toClient, c.answer(m)...)
		if r.Buffered() > 0 {
			continue
		}
		if !c.say(toClient) {
			return
		}
		toClient = nil
	}
}

// say passes something on to the client.
func (c *conversation) say(b []byte) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	return len(b) == 0 || c.proxy.deliver(c.link, ToClient, b)
}
