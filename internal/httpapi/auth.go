package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
)

type sessionView struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
	User      userView  `json:"user"`
}

type userView struct {
	ID    uuid.UUID     `json:"id"`
	Email string        `json:"email"`
	Name  string        `json:"name"`
	Role  accounts.Role `json:"role"`
}

func viewSession(s accounts.Session) sessionView {
	return sessionView{
		Token:     s.Token,
		ExpiresAt: s.ExpiresAt.UTC(),
		User:      userView{ID: s.User.ID, Email: s.User.Email, Name: s.User.Name, Role: s.User.Role},
	}
}

type registerRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Name     string `json:"name"`
	Role     string `json:"role"`
}

func (a *api) register(c *gin.Context) error {
	noStore(c)
	var req registerRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	ctx := c.Request.Context()
	session, err := a.deps.Accounts.Register(ctx, RequestID(ctx), accounts.Registration{
		Email: req.Email, Password: req.Password, Name: req.Name, Role: accounts.Role(req.Role),
	})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	return a.json(c, http.StatusCreated, viewSession(session))
}

type loginRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

func (a *api) login(c *gin.Context) error {
	noStore(c)
	var req loginRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	session, err := a.deps.Accounts.Login(c.Request.Context(), req.Email, req.Password)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return a.json(c, http.StatusOK, viewSession(session))
}
