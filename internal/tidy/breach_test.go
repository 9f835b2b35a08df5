package tidy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// example is a small project and the breaches of one rule in it: the beginnings of
// what the rule must say, in order.
type example struct {
	rule  string
	files map[string]string
	want  []string
}

// lines repeats a line.
func lines(count int, line string) string { return strings.Repeat(line+"\n", count) }

// examples has at least one breach of every rule, and beside it what the rule
// must let pass.
func examples() []example {
	return slices.Concat(importExamples(), nameExamples(), stateExamples(), callExamples(), commentExamples(), textExamples(), moduleExamples())
}

// importExamples are those of the table and of the technologies.
func importExamples() []example {
	const m = module + "/internal/"
	return []example{
		{
			"imports", map[string]string{
				"internal/claim/claim.go":             "package claim\nimport _ \"" + m + "money\"\nimport _ \"" + m + "store\"\nimport _ \"os\"\n",
				"internal/claim/claim_test.go":        "package claim_test\nimport _ \"" + m + "store\"\nimport _ \"net/http\"\n",
				"internal/claims/claims.go":           "package claims\n",
				"internal/claim/testdata/ignored.go":  "package ignored\nimport _ \"" + m + "store\"\n",
				"cmd/claimrail/main.go":               "package main\nimport _ \"" + m + "broker\"\nimport _ \"" + m + "store/storetest\"\n",
				"internal/payment/payment.go":         "package payment\nimport _ \"" + m + "claim\"\n",
				"internal/payment/payment_test.go":    "package payment_test\nimport _ \"" + m + "intake\"\nimport _ \"" + m + "sqlitefile\"\n",
				"internal/payment/pgledger/l_test.go": "package pgledger\nimport _ \"" + m + "store\"\n",
			}, []string{
				"cmd/claimrail/main.go:3: claimrail must not import " + m + "store/storetest: it is for tests",
				"internal/claim/claim.go:3: claim must not import " + m + "store: its row",
				"internal/claims: package is not in the table",
				"internal/payment/payment.go:2: payment must not import " + m + "claim: payments never",
				"internal/payment/payment_test.go:2: payment must not import " + m + "intake: payments never",
				"internal/payment/pgledger/l_test.go:2: pgledger must not import " + m + "store: payments never",
			},
		},
		{
			"imports", map[string]string{
				"internal/api/api.go":               "package api\nimport _ \"net/http\"\nimport _ \"net/http/pprof\"\nimport _ \"github.com/nats-io/nats.go\"\n",
				"internal/broker/broker.go":         "package broker\nimport _ \"github.com/nats-io/nats.go/jetstream\"\nimport _ \"net/http\"\n",
				"internal/store/store.go":           "package store\nimport _ \"database/sql\"\nimport _ \"testing\"\nimport _ \"net/url\"\n",
				"internal/store/pgstore/store.go":   "package pgstore\nimport _ \"database/sql/driver\"\nimport _ \"github.com/jackc/pgx/v5\"\n",
				"internal/money/money.go":           "package money\nimport _ \"example.org/decimal\"\nimport _ \"unsafe\"\nimport _ \"log/slog\"\n",
				"internal/outbox/outbox.go":         "package outbox\nimport _ \"log\"\nimport _ \"github.com/prometheus/client_golang/prometheus\"\n",
				"internal/store/storetest/suite.go": "package storetest\nimport _ \"testing/synctest\"\n",
			}, []string{
				"internal/api/api.go:4: api must not import github.com/nats-io/nats.go: github.com/nats-io belongs to broker",
				"internal/broker/broker.go:3: broker must not import net/http: net/http belongs to api, claimrail",
				"internal/money/money.go:2: money must not import example.org/decimal: no technology",
				"internal/money/money.go:3: money must not import unsafe: unsafe is for nobody",
				"internal/outbox/outbox.go:2: outbox must not import log: log is for nobody",
				"internal/outbox/outbox.go:3: outbox must not import github.com/prometheus/client_golang/prometheus: ",
				"internal/store/store.go:2: store must not import database/sql: ",
				"internal/store/store.go:3: store must not import testing: ",
			},
		},
	}
}

// nameExamples are those of sizes and names.
func nameExamples() []example {
	return []example{
		{
			"sizes", map[string]string{
				"a/a.go":      "package a\nfunc long() {\n" + lines(69, "") + "}\nfunc short() {\n" + lines(68, "") + "}\n",
				"a/long.go":   "package a\n" + lines(500, "//"),
				"a/short.go":  "package a\n" + lines(499, "//"),
				"a/a_test.go": "package a\n" + lines(799, "//"),
				"a/b_test.go": "package a\n" + lines(800, "//"),
			}, []string{
				"a/a.go:2: long has 71 lines, at most 70",
				"a/b_test.go: file of 801 lines, at most 800",
				"a/long.go: file of 501 lines, at most 500",
			},
		},
		{
			"names", map[string]string{
				"cmd/one/main.go": "package main\n", "cmd/two/main.go": "package main\n",
				"a/claim/claim.go": "package claim\n", "a/claim/claim_test.go": "package claim_test\n",
				"b/claim/claim.go": "package claim\n",
				"b/helpers/h.go":   "package helpers\n",
				"b/strings/s.go":   "package strings\n",
				"b/money/cents.go": "package cents\n",
			}, []string{
				"b/claim: claim is also the name of a/claim",
				"b/helpers: helpers does not say",
				"b/money: package is called cents",
				"b/strings: strings is a package of the standard library",
			},
		},
		{
			"aliases", map[string]string{
				"a/a.go":      "package a\nimport (\n_ \"embed\"\n_ \"modernc.org/sqlite\"\n\"fmt\"\n_ \"os\"\nstr \"strings\"\n. \"errors\"\n)\n",
				"a/a_test.go": "package a\nimport a \"fmt\"\n",
			}, []string{
				"a/a.go:6: os is imported as _",
				"a/a.go:7: strings is imported as str",
				"a/a.go:8: errors is imported as .",
				"a/a_test.go:2: fmt is imported as a",
			},
		},
	}
}

// stateExamples are those of variables.
func stateExamples() []example {
	return []example{
		{
			"state", map[string]string{
				"a/a.go": `package a
import ("embed"; "errors"; "reflect"; "regexp"; "sync"; "time")
//go:embed a.sql
var files embed.FS
var ErrOne, errTwo = errors.New("one"), errors.New("two")
var (
	pattern = regexp.MustCompile("a")
	table = map[string][]int{"a": {1}}
	names = [...]string{"a", "b"}
	day = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	kind = reflect.TypeFor[int]()
	errKinds = &kinds{}; _ error = (*kinds)(nil)
)
var lock sync.Mutex
var count = 0
var clock = time.Now
var started = time.Now()
var shared = &struct{ n int }{}
var Table = map[string]int{}
func init() {}
type kinds struct{}
func (kinds) init() {}
func local() { table := map[string]int{}; table["a"] = 1; names := names; names[0] = "" }
`,
				"cmd/a/main.go": "package main\nvar version string\nvar commit string\n",
			}, []string{
				"a/a.go:14: package-level variable lock: it can change",
				"a/a.go:15: package-level variable count: it can change",
				"a/a.go:16: package-level variable clock: it can change",
				"a/a.go:17: package-level variable started: it can change",
				"a/a.go:18: package-level variable shared: it can change",
				"a/a.go:19: package-level variable Table: others can assign",
				"a/a.go:20: init",
				"cmd/a/main.go:3: package-level variable commit: it can change",
			},
		},
		{
			"state", map[string]string{
				"a/a.go": "package a\nvar table = map[string][]int{}\nvar names = []struct{ n int }{{1}}\nvar errOwn = &fault{}\n",
				"a/b.go": `package a
import "slices"
func change() {
	table["a"] = nil
	table["a"][0]++
	names = nil
	names[0].n = 2
	_ = &names[0]
	delete(table, "a")
	for names[0].n = range 3 {
	}
	slices.Reverse((names)[1:])
	errOwn.n = 1
}
`,
				"a/a_test.go": "package a\nfunc f() { names, n := names, 1; names[0].n = n; clear(table) }\n",
			}, []string{
				"a/a_test.go:2: package-level table", "a/b.go:10: package-level names", "a/b.go:12: package-level names", "a/b.go:13: package-level errOwn", "a/b.go:4: package-level table",
				"a/b.go:5: package-level table", "a/b.go:6: package-level names", "a/b.go:7: package-level names",
				"a/b.go:8: package-level names", "a/b.go:9: package-level table",
			},
		},
	}
}

// callExamples are those of calls, and of tests that do not run beside others.
func callExamples() []example {
	return []example{
		{
			"parallel", map[string]string{
				"a/a.go": "package a\nfunc TestOne() {}\n",
				"a/a_test.go": `package a
func TestOne(t *testing.T) { t.Parallel() }
func TestTwo(t *testing.T) { t.Log(); t.Parallel() }
func TestThree(t *testing.T) { t.Chdir("x") }; func TestSix(t *testing.T) { testing.AllocsPerRun(1, f) }; func TestSeven(t *testing.T) { runtime.ReadMemStats(&m) }
func TestFour(t *testing.T) { t.Run("x", func(t *testing.T) { t.Parallel() }) }
func TestFive(t *testing.T) {}
func TestMain(m *testing.M) {}
func FuzzOne(f *testing.F) {}
`,
			}, []string{"a/a_test.go:3: TestTwo", "a/a_test.go:5: TestFour", "a/a_test.go:6: TestFive"},
		},
		{
			"calls", map[string]string{
				"internal/a/a.go":      "package a\nfunc f() {\ntime.Sleep(1)\nfmt.Println()\nfmt.Sprint()\nfmt.Fprintln(w)\n}\n",
				"internal/a/a_test.go": "package a\nvar wait = time.Sleep\n",
				"cmd/a/main.go":        "package main\nfunc main() {\nfmt.Println()\ntime.Sleep(1)\n}\n",
			}, []string{
				"cmd/a/main.go:4: sleep", "internal/a/a.go:3: sleep", "internal/a/a.go:4: fmt.Println", "internal/a/a_test.go:2: sleep",
			},
		},
	}
}

// commentExamples are those of comments.
func commentExamples() []example {
	return []example{
		{
			"package comments", map[string]string{
				"a/a.go": "package a\n", "a/b_test.go": "// Package a is told of in a test only? That counts.\npackage a\n",
				"b/b.go": "package b\n", "b/b_test.go": "// Package b_test is another.\npackage b_test\n",
				"c/c.go": "// Here is c.\npackage c\n", "d/main.go": "// D does it.\npackage main\n", "e/main.go": "package main\n",
			}, []string{"b: no comment", "c: no comment", "e: no comment"},
		},
		{
			"comments", map[string]string{
				"a/a.go": `package a
func Bare() {}
// Told is.
func Told() {}
func own() {}
type T struct{}
func (T) M() {}
func (t *T) N() {}
type u struct{}
func (u) M() {}
const C = 1
// D and E are.
const (
	D = 1
	E = 2
)
const (
	// F is.
	F = 1
	G = 2 // is
	H = 3
)
`,
				"a/a_test.go": "package a\nfunc TestOne() {}\n// It does.\nfunc TestTwo() {}\nfunc FuzzOne() {}\nfunc TestMain() {}\nfunc Helper() {}\n",
			}, []string{
				"a/a.go:11: C", "a/a.go:21: H", "a/a.go:2: Bare", "a/a.go:6: T", "a/a.go:7: M", "a/a.go:8: N",
				"a/a_test.go:2: TestOne", "a/a_test.go:5: FuzzOne",
			},
		},
	}
}

// textExamples are those of what is written in any file.
func textExamples() []example {
	return []example{
		{
			"texts", map[string]string{
				"a.go":                        "package a // TO" + "DO: more\n// XX" + "XX is a pattern\n",
				"a/b.md":                      "one\n\nFIX" + "ME it\nsee /ho" + "me/me/x, ./home/x and /homework\n",
				"vendor/c.js":                 "// TO" + "DO: theirs\n",
				"ui/package-lock.json":        "{\n \"resolved\": \"https://registry.npmjs" + ".org/x\",\n}\n",
				"data/x.md":                   "TO" + "DO: data",
				"ui/node_modules/x/x.js":      "TO" + "DO: not ours",
				"Dockerfile":                  "FROM ghcr" + ".io/a/b\nFROM golang:1.26\n",
				".ci/run":                     "GOPROXY=https://proxy.golang" + ".org go build\n",
				"image":                       "\x00 TO" + "DO",
				"internal/a/testdata/t.txtar": "XX" + "X\n",
			}, []string{
				".ci/run:1: proxy.golang" + ".org", "Dockerfile:1: ghcr" + ".io", "a.go:1: TO" + "DO", "a/b.md:3: FIX" + "ME", "a/b.md:4: a folder of one machine",
				"internal/a/testdata/t.txtar:1: XX" + "X", "ui/package-lock.json:2: addresses", "ui/package-lock.json:2: registry.npmjs" + ".org",
			},
		},
	}
}

// moduleExamples are those of module files.
func moduleExamples() []example {
	good := map[string]string{"go.mod": "module " + module + "\n\ngo 1.26.0\n", "tools.mod": "module " + module + "/tools\n\ngo 1.26\n\ntool example.org/a\n"}
	return []example{
		{"modules", good, nil},
		{"modules", map[string]string{
			"go.mod":    "module claims\n\ngo 1.25\n\ntoolchain go1.26.8\n\ntool example.org/a\n\nreplace a => b\n",
			"tools.mod": "module tools\n\ngo 1.27.0\n", "go.work": "go 1.26\n",
		}, []string{
			"go.mod: 0 lines", "go.mod:1: module claims", "go.mod:3: go 1.25", "go.mod:5: toolchain", "go.mod:7: tool", "go.mod:9: replace",
			"go.work: ", "tools.mod: 0 lines", "tools.mod:3: go 1.27.0",
		}},
		{"modules", map[string]string{"go.mod": good["go.mod"]}, []string{"tools.mod: not there"}},
	}
}

// Every rule finds its breaches, says where they are, and lets the rest pass.
func TestRulesFindBreaches(t *testing.T) {
	t.Parallel()
	checked := map[string]bool{}
	rules := rules(t)
	for i, example := range examples() {
		found := slices.IndexFunc(rules, func(rule rule) bool { return rule.name == example.rule })
		if found < 0 {
			t.Fatalf("no rule is called %s", example.rule)
		}
		checked[example.rule] = checked[example.rule] || len(example.want) > 0
		t.Run(fmt.Sprintf("%s %d", example.rule, i), func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{}
			for name, text := range example.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			p, err := readProject(root)
			if err != nil {
				t.Fatal(err)
			}
			got := rules[found].check(p)
			slices.Sort(got)
			for j := range min(len(got), len(example.want)) {
				if strings.HasPrefix(got[j], example.want[j]) {
					got[j] = example.want[j]
				}
			}
			if diff := cmp.Diff(got, example.want); diff != "" {
				t.Errorf("breaches: got -, want +:\n%s", diff)
			}
		})
	}
	for _, rule := range rules {
		if !checked[rule.name] {
			t.Errorf("%s: no example of a breach", rule.name)
		}
	}
}

// A file that does not parse is an error, not a file without breaches.
func TestReadProjectNamesTheFile(t *testing.T) {
	t.Parallel()
	_, err := readProject(fstest.MapFS{"a/a.go": &fstest.MapFile{Data: []byte("package a\nfunc {\n")}})
	if err == nil || !strings.Contains(err.Error(), "a/a.go") {
		t.Errorf("got %v, want an error that names a/a.go", err)
	}
}
