package tidy_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// row says what one package of the project may import of the others, by the last
// element of their paths; no two packages share it.
type row struct {
	folder  string
	imports []string
}

// of makes a row.
func of(folder, imports string) row { return row{folder, strings.Fields(imports)} }

// everything stands for all packages but those that only tests may use.
const everything = "*"

// testSupport are the packages that only tests, and each other, may import.
var testSupport = []string{"storetest", "ledgertest", "pgtest", "checker"}

// table is the architecture: who may import whom, in the order of the line. What a
// row does not name is forbidden, and so is a package without a row. Tests may
// import what they need, but for the rows that never says.
func table() []row {
	return []row{
		of("internal/money", ""),
		of("internal/claim", "money"),
		of("internal/x12", ""),
		of("internal/intake", "claim money x12"),
		of("internal/event", "money"),
		of("internal/outbox", "event"),
		of("internal/store", "claim event money outbox"),
		of("internal/store/storetest", "store claim event money outbox"),
		of("internal/sqlitefile", ""),
		of("internal/store/sqlitestore", "store claim event money outbox sqlitefile"),
		of("internal/pgfile", ""),
		of("internal/pgtest", ""),
		of("internal/store/pgstore", "store claim event money outbox pgfile"),
		of("internal/broker", "event outbox"),
		of("internal/payment", "event money"),
		of("internal/payment/ledgertest", "payment event money"),
		of("internal/payment/sqliteledger", "payment event money sqlitefile"),
		of("internal/payment/pgledger", "payment event money pgfile"),
		of("internal/export", "claim event intake money payment store"),
		of("internal/bulk", "claim intake money store"),
		of("internal/verify", "store payment claim event money outbox"),
		of("internal/sample", "claim money"),
		of("internal/api", "bulk claim event export intake money outbox payment store verify x12"),
		of("cmd/claimrail", everything),
		of("internal/checker", "claim money"),
		of("internal/simulate", everything),
		of("internal/e2e", everything),
		of("internal/planted", ""),
		of("internal/tidy", ""),
	}
}

// never are the packages that those in and below internal/payment must not see,
// tests included: payments runs on its own, and what it can not name it can not leak.
var never = []string{"claim", "intake", "x12", "store", "storetest", "sqlitestore", "pgstore"}

// technology says who may import a part of the standard library or somebody
// else's module, outside of tests. A path ends at a slash or covers what is below.
type technology struct {
	path     string
	packages []string
}

// use makes a technology.
func use(path, packages string) technology { return technology{path, strings.Fields(packages)} }

// technologies keeps each technology in its own place, so that it can be exchanged
// there. Modules that it does not name are forbidden; of the standard library, only
// what it names is kept in place.
func technologies() []technology {
	const engines = "sqlitefile sqlitestore sqliteledger pgfile pgstore pgledger"
	return []technology{
		use("C", ""), // the program is built without cgo
		use("unsafe", ""),
		use("log", ""), // all logs go to a slog.Logger that is passed in
		use("log/slog", everything),
		use("database/sql", engines),
		use("net/http", "api claimrail"),
		use("testing", "storetest ledgertest pgtest"),

		use("github.com/nats-io", "broker"),
		use("modernc.org", "sqlitefile sqlitestore sqliteledger"),
		use("github.com/gofrs/flock", "sqlitefile claimrail"),
		use("github.com/jackc/pgx", "pgfile pgstore pgledger pgtest"),
		use("github.com/pressly/goose", "sqlitefile pgfile"),
		use("github.com/danielgtaylor/huma", "api claimrail"),
		use("github.com/prometheus", "api claimrail"),
		use("golang.org/x/net/netutil", "api"), // a listener of bounded connections
		use("github.com/spf13", "claimrail"),
		use("github.com/vbauerster/mpb", "claimrail"), // a progress bar on terminals of any kind
		use("golang.org/x/term", "claimrail"),
		use("github.com/caarlos0/env", "claimrail"),
		use("github.com/joho/godotenv", "claimrail"),
		use("github.com/google/uuid", everything),
		use("github.com/go-json-experiment/json", "intake api"),
		use("github.com/google/go-cmp", "storetest ledgertest pgtest"),
		use("pgregory.net/rapid", "storetest ledgertest pgtest"),
	}
}

// importRule holds the table and the technologies against the imports.
func importRule(p project) []string {
	rows := map[string]row{}
	for _, row := range table() {
		rows[row.folder] = row
	}
	var breaches []string
	for _, files := range p.packages() {
		folder := files[0].folder()
		if _, own := p.texts[folder+"/go.mod"]; own {
			continue // another module: it is no part of the program, and may use what it likes
		}
		row, ok := rows[folder]
		if !ok {
			breaches = append(breaches, folder+": package is not in the table of internal/tidy; add a row and say why")
			continue
		}
		for _, file := range files {
			for _, spec := range file.syntax.Imports {
				name := importPath(spec)
				if why := refusal(row, name, file.isTest()); why != "" {
					breaches = append(breaches, fmt.Sprintf("%s: %s must not import %s: %s", p.at(spec), path.Base(folder), name, why))
				}
			}
		}
	}
	return breaches
}

// refusal says why the package of a row must not import a path; "" if it may.
func refusal(row row, name string, test bool) string {
	self, other := path.Base(row.folder), path.Base(name)
	if strings.HasPrefix(name, module+"/") {
		switch {
		case strings.HasPrefix(row.folder+"/", "internal/payment/") && slices.Contains(never, other):
			return "payments never sees a claim, not even in tests"
		case test || slices.Contains(row.imports, other):
			return ""
		case slices.Contains(testSupport, other):
			return "it is for tests"
		case slices.Contains(row.imports, everything):
			return ""
		}
		return "its row in the table of internal/tidy does not name it"
	}
	if test {
		return ""
	}
	found := technology{packages: []string{everything}}
	if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
		found.packages = nil
	}
	for _, technology := range technologies() {
		if (name == technology.path || strings.HasPrefix(name, technology.path+"/")) && len(technology.path) > len(found.path) {
			found = technology
		}
	}
	switch {
	case slices.Contains(found.packages, everything) || slices.Contains(found.packages, self):
		return ""
	case found.path == "":
		return "no technology of internal/tidy names it; add it and say what we would otherwise write"
	case len(found.packages) == 0:
		return found.path + " is for nobody"
	}
	return found.path + " belongs to " + strings.Join(found.packages, ", ")
}

// The table can be believed: names mean one package each, nothing is reached in a
// circle, and payments does not reach a claim by way of others either.
func TestTable(t *testing.T) {
	t.Parallel()
	rows := map[string]row{}
	for _, row := range table() {
		name := path.Base(row.folder)
		if _, ok := rows[name]; ok {
			t.Errorf("%s: two rows", name)
		}
		rows[name] = row
	}
	seen := map[[2]string]bool{} // so that a circle elsewhere is not walked for ever
	var reach func(from, through string)
	reach = func(from, through string) {
		if seen[[2]string{from, through}] {
			return
		}
		seen[[2]string{from, through}] = true
		for _, name := range rows[through].imports {
			switch {
			case name == everything:
				continue
			case rows[name].folder == "":
				t.Errorf("%s: its row names %s, which has none", through, name)
			case name == from:
				t.Errorf("%s: reaches itself through %s", from, through)
			case strings.HasPrefix(rows[from].folder+"/", "internal/payment/") && slices.Contains(never, name):
				t.Errorf("%s: reaches %s through %s", from, name, through)
			default:
				reach(from, name)
			}
		}
	}
	for name := range rows {
		reach(name, name)
	}
}
