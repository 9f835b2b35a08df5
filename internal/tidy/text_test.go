package tidy_test

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// unfinished are marks of work that was left. They are spelled in two halves, so
// that this file does not carry them.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// ownKinds are the endings of what is written here, not taken from elsewhere.
var ownKinds = []string{"", ".css", ".go", ".html", ".js", ".md", ".mod", ".pml", ".py", ".sh", ".sql", ".txtar", ".yaml", ".yml"}

// taken are the parts of a path below which the text is somebody else's.
var taken = []string{"vendor", "swagger-ui"}

// hosts are those from which packages come. Which one is used, and through which
// mirror, is the business of the machine that builds, not of the project.
var hosts = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	`(proxy|sum)\.golang` + `\.org`, `goproxy` + `\.\w+`, `registry\.npmjs` + `\.org`, `registry\.yarnpkg` + `\.com`,
	`(deb|security|ftp)\.debian` + `\.org`, `pypi` + `\.org`, `files\.pythonhosted` + `\.org`,
	`docker` + `\.io`, `ghcr` + `\.io`, `quay` + `\.io`,
}, "|") + `)\b`)

// homes are folders of one person's machine.
var homes = regexp.MustCompile(`(^|[\s"'=:(` + "`" + `])/(home|root|Users|work)/`)

// textRule looks at what is written in all files, whatever their kind.
func textRule(p project) []string {
	var breaches []string
	for _, name := range slices.Sorted(maps.Keys(p.texts)) {
		report := func(offset int, format string, arguments ...any) {
			line := bytes.Count(p.texts[name][:offset], []byte("\n")) + 1
			breaches = append(breaches, fmt.Sprintf("%s:%d: ", name, line)+fmt.Sprintf(format, arguments...))
		}
		if isOwn(name) {
			for _, at := range unfinished.FindAllIndex(p.texts[name], -1) {
				report(at[0], "%s; do it now, or write an issue", p.texts[name][at[0]:at[1]])
			}
			for _, at := range homes.FindAllIndex(p.texts[name], -1) {
				report(at[0], "a folder of one machine; name it from the project's root")
			}
		}
		for _, at := range hosts.FindAllIndex(p.texts[name], -1) {
			report(at[0], "%s is a host of packages; leave it to the machine that builds", p.texts[name][at[0]:at[1]])
		}
		if path.Base(name) == "package-lock.json" {
			if at := bytes.Index(p.texts[name], []byte(`"resolved"`)); at >= 0 {
				report(at, "addresses of packages; npm ci works with the hashes alone: take out all that is \"resolved\"")
			}
		}
	}
	return breaches
}

// isOwn tells whether a file was written here.
func isOwn(name string) bool {
	return slices.Contains(ownKinds, path.Ext(name)) &&
		!slices.ContainsFunc(strings.Split(path.Dir(name), "/"), func(part string) bool { return slices.Contains(taken, part) })
}
