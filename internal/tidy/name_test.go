package tidy_test

import (
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// emptyNames say nothing of what a package gives.
var emptyNames = []string{
	"util", "utils", "common", "helper", "helpers", "model", "models", "types",
	"service", "services", "handler", "handlers", "base", "misc", "shared", "core", "lib",
}

// standardNames lists the last elements of the standard library's packages.
func standardNames(t *testing.T) map[string]bool {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "std").Output()
	if err != nil {
		t.Fatalf("go list std: %v", err)
	}
	names := map[string]bool{}
	for name := range strings.FieldsSeq(string(output)) {
		if parts := strings.Split(name, "/"); !slices.Contains(parts, "internal") && parts[0] != "vendor" {
			names[path.Base(name)] = true
		}
	}
	return names
}

// nameRule gives every package one name that says something, so that no import
// needs another.
func nameRule(standard map[string]bool) func(project) []string {
	return func(p project) []string {
		var breaches []string
		folders := map[string]string{"main": ""}
		for _, files := range p.packages() {
			folder, name := files[0].folder(), files[0].syntax.Name.Name
			if files[0].isTest() {
				name = strings.TrimSuffix(name, "_test")
			}
			report := func(format string, arguments ...any) {
				breaches = append(breaches, folder+": "+fmt.Sprintf(format, arguments...))
			}
			if name == "main" {
				continue
			}
			if name != path.Base(folder) {
				report("package is called %s; call it as its folder", name)
			}
			if slices.Contains(emptyNames, name) {
				report("%s does not say what the package gives; name it for that, or put its parts where they are used", name)
			}
			if standard[name] {
				report("%s is a package of the standard library; find another name", name)
			}
			if other, ok := folders[name]; ok && other != folder {
				report("%s is also the name of %s; find another name", name, other)
			}
			folders[name] = folder
		}
		return breaches
	}
}

// blankImports are imported for what they register, or for a directive.
var blankImports = []string{"embed", "modernc.org/sqlite", "github.com/jackc/pgx/v5/stdlib", "time/tzdata"}

// aliasRule lets imports have no names of their own.
func aliasRule(p project) []string {
	var breaches []string
	for _, file := range p.files {
		for _, spec := range file.syntax.Imports {
			name := importPath(spec)
			switch {
			case spec.Name == nil:
			case spec.Name.Name != "_":
				breaches = append(breaches, fmt.Sprintf("%s: %s is imported as %s; use its own name", p.at(spec), name, spec.Name.Name))
			case !slices.Contains(blankImports, name):
				breaches = append(breaches, fmt.Sprintf("%s: %s is imported as _, but it is no driver", p.at(spec), name))
			}
		}
	}
	return breaches
}
