package tidy_test

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// goLine is the only version of Go that module files name. A toolchain line would
// make people download another one than they have.
var goLine = regexp.MustCompile(`^go 1\.26(\.0)?$`)

// moduleRule keeps the module files such that a plain build with Go 1.26 works
// anywhere, and that go.mod lists what ships and nothing else.
func moduleRule(p project) []string {
	var breaches []string
	for _, name := range []string{"go.mod", "tools.mod"} {
		text, ok := p.texts[name]
		if !ok {
			breaches = append(breaches, name+": not there")
			continue
		}
		versions := 0
		for i, line := range strings.Split(string(text), "\n") {
			report := func(why string) {
				breaches = append(breaches, fmt.Sprintf("%s:%d: %s: %s", name, i+1, line, why))
			}
			word, _, _ := strings.Cut(line, " ")
			switch {
			case word == "go" && goLine.MatchString(line):
				versions++
			case word == "go":
				report("want go 1.26")
			case word == "toolchain":
				report("leave the choice to the machine; take the line out")
			case word == "replace" || word == "exclude":
				report("it holds for this module only; take a version that needs none")
			case word == "tool" && name == "go.mod":
				report("tools are pinned in tools.mod")
			case word == "module" && name == "go.mod" && line != "module "+module:
				report("want " + module)
			}
		}
		if versions != 1 {
			breaches = append(breaches, fmt.Sprintf("%s: %d lines go 1.26, want 1", name, versions))
		}
	}
	for name := range p.texts {
		if path.Base(name) == "go.work" {
			breaches = append(breaches, name+": a workspace is one person's; take it out")
		}
	}
	return breaches
}
