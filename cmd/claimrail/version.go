package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=v1.2.3) for a release; "" otherwise.
var version string

// build says which program this is.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the working tree had changes that are in no commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild asks the linker first, then what the go command left in the binary.
func readBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Long:    "Say which version this is, of which commit it was built, and with which Go.",
		Example: "  claimrail version\n  claimrail version --json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if p.json {
				return json.NewEncoder(p.stdout).Encode(b)
			}
			commit := ""
			if b.Commit != "" {
				commit = " commit " + b.Commit
			}
			if b.Modified {
				commit += " (modified)"
			}
			_, err := fmt.Fprintf(p.stdout, "claimrail %s%s %s %s\n", b.Version, commit, b.Go, b.Platform)
			return err
		},
	}
}
