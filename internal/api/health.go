package api

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// probeTimeout bounds one probe.
const probeTimeout = 2 * time.Second

// Paths of the probes.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// Words of a Health.
const (
	healthOK    = "ok"
	healthReady = "ready"
	healthNot   = "not ready"
	healthDown  = "unavailable"
	healthStop  = "stopping"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status string            `json:"status" example:"ready"`
	Checks map[string]string `json:"checks,omitempty" doc:"each ok or unavailable; the log says why"`
}

func (a *API) healthRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: healthPath, id: "health", tag: "operation", open: true,
			summary: "Tell that the process answers",
			answers: map[int]content{http.StatusOK: {text: "It does", body: Health{}}},
			handle: func(w http.ResponseWriter, _ *http.Request) error {
				return reply(w, http.StatusOK, Health{Status: healthOK})
			},
		},
		{
			method: http.MethodGet, path: readyPath, id: "readiness", tag: "operation", open: true,
			summary: "Tell whether databases, their schemas and the broker can be used",
			answers: map[int]content{
				http.StatusOK:                 {text: "All of them", body: Health{}},
				http.StatusServiceUnavailable: {text: "Not all of them, or the server stops", body: Health{}},
			},
			handle: a.ready,
		},
	}
}

// ready is GET /readyz. The probes run at once.
func (a *API) ready(w http.ResponseWriter, r *http.Request) error {
	if stopping(r.Context()).Err() != nil {
		return reply(w, http.StatusServiceUnavailable, Health{Status: healthStop})
	}
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	errs := make([]error, len(a.Probes))
	var running sync.WaitGroup
	for i, probe := range a.Probes {
		running.Go(func() { errs[i] = probe.Check(ctx) })
	}
	running.Wait()
	health, status := Health{Status: healthReady, Checks: make(map[string]string)}, http.StatusOK
	for i, probe := range a.Probes {
		health.Checks[probe.Name] = healthOK
		if errs[i] != nil {
			health.Checks[probe.Name] = healthDown
			health.Status, status = healthNot, http.StatusServiceUnavailable
			a.Logger.WarnContext(r.Context(), "not ready", "check", probe.Name, "error", errs[i])
		}
	}
	return reply(w, status, health)
}
