package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
)

type recordView struct {
	ID        uuid.UUID       `json:"id"`
	At        time.Time       `json:"at"`
	ActorID   uuid.NullUUID   `json:"actorId"`
	ActorRole string          `json:"actorRole"`
	Action    string          `json:"action"`
	Entity    string          `json:"entity"`
	EntityID  uuid.UUID       `json:"entityId"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
	RequestID string          `json:"requestId"`
}

func viewRecord(r audit.Record) recordView { return recordView(r) }

func (a *api) listAudit(c *gin.Context, _ accounts.Principal) error {
	q, err := parseQuery(c)
	if err != nil {
		return err
	}
	f := audit.Filter{Entity: q.text("entity"), EntityID: q.id("entityId"), ActorID: q.id("actorId")}
	f.Limit, f.Cursor = q.page()
	if err := q.wrong.Err(); err != nil {
		return err
	}
	list, next, err := a.deps.Audit.Records(c.Request.Context(), f)
	if err != nil {
		return fmt.Errorf("list audit records: %w", err)
	}
	return a.json(c, http.StatusOK, viewPage(list, viewRecord, next))
}
