package pgtest

import (
	"net"

	"github.com/jackc/pgx/v5/pgproto3"
)

// bogus is the name of a portal and of a prepared statement that nobody has: to ask for it makes the server fail the
// transaction. Only the SQLSTATE of the error is then changed on its way back, so that client and server agree on all
// that follows.
const bogus = "fault"

// provoked are the SQLSTATEs of bogus: invalid_cursor_name and invalid_sql_statement_name.
var provoked = map[string]bool{"34000": true, "26000": true}

// apply lets a fault strike at m, with which the client has a statement executed.
func (c *conversation) apply(f *Fault, m message) {
	simple := m.kind == 'Q'
	switch {
	case f.passes():
		c.toServer = append(c.toServer, m.raw...)
	case f.At == CommitSent:
		c.commitUnheard(f, m)
	case f.Code == "" || f.endsSession():
		c.breakOff(f)
	case f.At == BeforeCommit:
		c.rollBack(f, simple)
	case simple:
		c.fail(f, &pgproto3.Query{String: "execute " + bogus})
	default:
		c.fail(f, &pgproto3.Execute{Portal: bogus})
	}
}

// breakOff ends the conversation: for the client at once, for the server when the fault says.
func (c *conversation) breakOff(f *Fault) {
	if !c.flush() {
		return
	}
	c.lose(f)
	c.link.wait(f.Hold)
	c.link.closeServer()
}

// lose has the client lose its connection.
func (c *conversation) lose(f *Fault) {
	switch {
	case f.Code != "" && f.At != CommitSent:
		if c.say(errorResponse("FATAL", f.Code)) {
			c.link.loseClient(closeWrite) // it still may be sending, and must not be interrupted by a reset
		}
	case f.Loss == Hang:
		c.link.loseClient(nil)
	case f.Loss == Close:
		c.link.loseClient(net.Conn.Close)
	default:
		c.link.loseClient(reset)
	}
}

func closeWrite(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return conn.Close()
}

// commitUnheard has the server commit after the client is gone.
func (c *conversation) commitUnheard(f *Fault, m message) {
	if !c.flush() {
		return
	}
	c.mu.Lock()
	c.last = true
	c.mu.Unlock()
	c.lose(f)
	if !c.link.wait(f.Hold) || !c.proxy.flows(c.link, ToServer) {
		return
	}
	// Nothing of the client's is delivered any more, so this goes past deliver. Without its Sync, nobody would hear when
	// the server is done.
	if _, err := c.link.server.Write(append(m.raw, encode(&pgproto3.Sync{})...)); err != nil {
		c.link.closeServer()
	}
}

// fail sends provocation in place of a statement.
func (c *conversation) fail(f *Fault, provocation pgproto3.FrontendMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing = f.Code
	c.toServer = append(c.toServer, encode(provocation)...)
}

// rollBack sends ROLLBACK in place of COMMIT.
func (c *conversation) rollBack(f *Fault, simple bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing = f.Code
	if simple {
		c.rollback = 1
		c.toServer = append(c.toServer, encode(&pgproto3.Query{String: "rollback"})...)
		return
	}
	c.rollback = 3
	for _, m := range []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "rollback"}, &pgproto3.Bind{}, &pgproto3.Execute{}} {
		c.toServer = append(c.toServer, encode(m)...)
	}
}

// answer returns what the client gets for one message of the server.
func (c *conversation) answer(m message) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.kind {
	case '1', '2': // ParseComplete, BindComplete
		if c.rollback == 3 && m.kind == '1' || c.rollback == 2 && m.kind == '2' {
			c.rollback--
			return nil
		}
	case 'C':
		var complete pgproto3.CommandComplete
		if complete.Decode(m.body()) != nil {
			break
		}
		switch tag := string(complete.CommandTag); {
		case tag == "ROLLBACK" && c.rollback == 1:
			return errorResponse("ERROR", c.failing)
		case tag == "COMMIT" && !c.last:
			return c.committed(m)
		}
	case 'E':
		var failure pgproto3.ErrorResponse
		if c.failing != "" && failure.Decode(m.body()) == nil && provoked[failure.Code] {
			return errorResponse("ERROR", c.failing)
		}
	case 'Z': // ReadyForQuery
		c.failing, c.rollback = "", 0
		if c.last {
			c.link.closeServer()
		}
	}
	return m.raw
}

// committed returns what the client gets for the server's answer to COMMIT.
func (c *conversation) committed(m message) []byte {
	f := c.proxy.strike(Committed, c.app, c.ending)
	switch {
	case f == nil, f.passes():
		return m.raw
	case f.Code != "" && !f.endsSession():
		return errorResponse("ERROR", f.Code)
	}
	c.lose(f)
	c.link.wait(f.Hold)
	c.link.closeServer()
	return nil
}

func errorResponse(severity, code string) []byte {
	return encode(&pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "fault injected by the test's proxy",
	})
}

func encode(m pgproto3.Message) []byte {
	b, err := m.Encode(nil)
	if err != nil {
		panic(err) // of a message of our own
	}
	return b
}
