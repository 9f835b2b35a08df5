//go:build !linux

package e2e_test

import (
	"os"
	"testing"
)

// The rigs are for Linux.
func TestTorture(t *testing.T) {
	t.Parallel()
	elsewhere(t, os.Getenv(tortureVariable))
}
