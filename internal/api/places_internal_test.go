package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// When all places are taken one more request waits: it is answered if a place becomes free
// within 300 ms, and else refused, then and not before, and told when to come again. Its body is not touched.
func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New(Config{
			Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
			Observe: func(string, string, int, time.Duration) {},
		})
		work := make(chan struct{})
		handler := a.serve(&route{handle: func(w http.ResponseWriter, _ *http.Request) error {
			<-work
			w.WriteHeader(http.StatusNoContent)
			return nil
		}})
		ask := func() (*httptest.ResponseRecorder, time.Duration) {
			recorder, started := httptest.NewRecorder(), time.Now()
			handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", untouched{t}))
			return recorder, time.Since(started)
		}
		var waiting sync.WaitGroup
		for range 512 {
			waiting.Go(func() { ask() })
		}
		synctest.Wait()
		refused, took := ask()
		if refused.Code != http.StatusServiceUnavailable || took != 300*time.Millisecond || refused.Header().Get("Retry-After") != "1" {
			t.Errorf("got %d after %v with Retry-After %q, want 503 after 300 ms with 1", refused.Code, took, refused.Header().Get("Retry-After"))
		}
		waiting.Go(func() {
			if got, took := ask(); got.Code != http.StatusNoContent || took != 200*time.Millisecond {
				t.Errorf("got %d after %v, want 204 after 200 ms", got.Code, took)
			}
		})
		<-time.After(200 * time.Millisecond) // of the bubble's clock
		work <- struct{}{}                   // one of the 512 is done
		synctest.Wait()                      // its place is taken by who waited
		close(work)
		waiting.Wait()
	})
}

// untouched is a body that must not be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, http.ErrBodyReadAfterClose
}
