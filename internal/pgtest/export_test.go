package pgtest

import "context"

// Ways gives the ways to a server that there are on such a machine.
func Ways(url, binaries string, apt, docker bool) (names []string) {
	facts := facts{url: url, binaries: binaries, apt: apt, docker: docker}
	for _, way := range facts.ways() {
		names = append(names, string(way))
	}
	return names
}

// Machine is a machine of a test's making.
type Machine = machine

// NewMachine makes one with these folders of programs, and of installed binaries.
func NewMachine(path string, places []string, folder string) *Machine {
	return &machine{path: path, places: places, root: true, folder: folder}
}

// Find gives a server by the best way that works.
func (m *machine) Find(ctx context.Context) (*Server, error) { return m.server(ctx) }

// Binaries gives the folder of the binaries that are used.
func (m *machine) Binaries() string { return m.binaries() }

// Install installs binaries.
func (m *machine) Install(ctx context.Context) error { return m.install(ctx) }
