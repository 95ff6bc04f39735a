package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Hash is the SHA-256 of a line and the hash before it.
type Hash [sha256.Size]byte

// String returns the hash as 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes 64 lower-case digits only, so that a hash has one form.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) || bytes.ContainsAny(text, "ABCDEF") {
		return errors.New("not 64 lower-case hexadecimal digits")
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Head is the last line of a chain. The zero Head is that of no chain.
type Head struct {
	ChainID uuid.UUID `json:"chainId"`
	// Seq counts the lines of the chain; the genesis is 1.
	Seq  int64 `json:"seq"`
	Hash Hash  `json:"hash"`
}

// Seal returns the line that comes after h: object, a JSON object with at least one member and without line breaks, with
// the link behind its members, and a line break. next is the head that the chain has then. The line after a Head with
// nothing but a ChainID is that chain's genesis.
func (h Head) Seal(object []byte) (line []byte, next Head, err error) {
	body, ok := bytes.CutSuffix(object, []byte("}"))
	if !ok || len(body) < 2 || bytes.IndexByte(object, '\n') >= 0 {
		return nil, Head{}, errors.New("seal line: not a JSON object on one line")
	}
	line = make([]byte, 0, len(body)+maxSuffix)
	line = append(line, body...)
	line = append(line, idMark...)
	line = append(line, h.ChainID.String()...)
	line = append(line, seqMark...)
	line = strconv.AppendInt(line, h.Seq+1, 10)
	line = append(line, prevMark...)
	line = hex.AppendEncode(line, h.Hash[:])
	line = append(line, '"')
	next = Head{ChainID: h.ChainID, Seq: h.Seq + 1, Hash: sum(h.Hash, line)}
	line = append(line, hashMark...)
	line = hex.AppendEncode(line, next.Hash[:])
	return append(line, "\"}\n"...), next, nil
}

const (
	idMark   = `,"chainId":"`
	seqMark  = `","seq":`
	prevMark = `,"prevHash":"`
	hashMark = `,"hash":"`

	// maxSuffix is the most bytes that a link and the line break take.
	maxSuffix = 300
)

// sum hashes a line, given without its hash and closing brace.
func sum(prev Hash, body []byte) Hash {
	h := sha256.New()
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], prev[:])
	h.Write(digits[:])
	h.Write(body)
	h.Write([]byte("}"))
	return Hash(h.Sum(nil))
}

// Link is what a line says of itself.
type Link struct {
	Head
	// Prev is the hash of the line before; zero in a genesis.
	Prev Hash
	// Time is the line's time, and AuditID that of its entry.
	Time    time.Time
	AuditID uuid.UUID
	// Previous is, in a genesis, the head of the chain before; nil when there was none.
	Previous *Head
	// Intact means that the hash is that of the line.
	Intact bool
}

// Genesis reports whether the line begins a chain.
func (l Link) Genesis() bool { return l.Seq == 1 }

// errNoLink means that a line is JSON, but not of a chain.
var errNoLink = errors.New("the line has no chain link at its end")

// Parse reads a line, given without its line break.
func Parse(line []byte) (Link, error) {
	var content struct {
		Time    time.Time
		AuditID uuid.UUID
		After   json.RawMessage
	}
	if err := json.Unmarshal(line, &content); err != nil {
		return Link{}, fmt.Errorf("the line is not JSON of an audit entry: %w", err)
	}
	l, err := parseSuffix(line)
	if err != nil {
		return Link{}, err
	}
	l.Time, l.AuditID = content.Time, content.AuditID
	if l.Genesis() && len(content.After) > 0 {
		var after struct{ Previous *Head }
		if err := json.Unmarshal(content.After, &after); err != nil {
			return Link{}, fmt.Errorf("the chain before is not readable: %w", err)
		}
		l.Previous = after.Previous
	}
	return l, nil
}

// parseSuffix reads the link from the end of the line, where no content can be taken for it.
func parseSuffix(line []byte) (Link, error) {
	var l Link
	rest, ok := bytes.CutSuffix(line, []byte(`"}`))
	body, ok2 := cutHash(rest, hashMark, &l.Hash)
	rest, ok3 := bytes.CutSuffix(body, []byte(`"`))
	rest, ok4 := cutHash(rest, prevMark, &l.Prev)
	if !ok || !ok2 || !ok3 || !ok4 {
		return Link{}, errNoLink
	}
	at := bytes.LastIndex(rest, []byte(seqMark))
	if at < 0 {
		return Link{}, errNoLink
	}
	digits := string(rest[at+len(seqMark):])
	seq, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seq < 1 || strconv.FormatInt(seq, 10) != digits {
		return Link{}, errNoLink
	}
	const uuidLen = 36
	object, id, found := cutTail(rest[:at], uuidLen)
	if !found {
		return Link{}, errNoLink
	}
	if l.ChainID, err = uuid.ParseBytes(id); err != nil || l.ChainID.String() != string(id) {
		return Link{}, errNoLink
	}
	if !bytes.HasSuffix(object, []byte(idMark)) {
		return Link{}, errNoLink
	}
	l.Seq = seq
	l.Intact = sum(l.Prev, body) == l.Hash
	return l, nil
}

// cutHash splits a hash with mark before it off the end of b.
func cutHash(b []byte, mark string, h *Hash) (before []byte, ok bool) {
	before, digits, ok := cutTail(b, hex.EncodedLen(len(h)))
	if !ok || h.UnmarshalText(digits) != nil {
		return nil, false
	}
	return bytes.CutSuffix(before, []byte(mark))
}

func cutTail(b []byte, n int) (before, tail []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	return b[:len(b)-n], b[len(b)-n:], true
}
