package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/broker"
)

// A command is carried out by payments and answered; one that payments could not read is
// an error without its cause; without payments a command fails at once.
func TestCommand(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	if answer, err := b.Command(b.Context(), []byte("redrive")); err == nil {
		t.Errorf("without payments: got %q, want an error", answer)
	}
	end := b.serve(func(ctx context.Context) error {
		return b.Commands(ctx, func(_ context.Context, request []byte) ([]byte, error) {
			switch string(request) {
			case "nonsense":
				return nil, errors.New("secret cause")
			case "partly":
				return []byte("done: partly"), errors.New("for the log")
			default:
				return append([]byte("done: "), request...), nil
			}
		})
	})
	defer end()
	for _, request := range []string{"redrive", "partly"} {
		if answer, err := b.Command(b.Context(), []byte(request)); err != nil || string(answer) != "done: "+request {
			t.Errorf("%s: got %q, %v", request, answer, err)
		}
	}
	if answer, err := b.Command(b.Context(), []byte("nonsense")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nonsense: got %q, %v, want an error without its cause", answer, err)
	}
}
