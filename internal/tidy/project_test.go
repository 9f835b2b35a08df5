package tidy_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// module is the path under which the project's packages import each other.
const module = "github.com/claimrail/claimrail"

// goFile is one Go file of the project.
type goFile struct {
	path   string // from the root of the project, with slashes
	text   []byte
	syntax *ast.File
}

// folder is where the file's package lives, from the root.
func (f goFile) folder() string { return path.Dir(f.path) }

// isTest tells whether the file is only compiled for tests.
func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// project is what the rules look at.
type project struct {
	positions *token.FileSet
	texts     map[string][]byte // every text file by its path from the root
	files     []goFile          // the Go files among them, in order of path
}

// at names the place of a node as compilers do.
func (p project) at(node ast.Node) string {
	position := p.positions.Position(node.Pos())
	return fmt.Sprintf("%s:%d", position.Filename, position.Line)
}

// importPath gives what a file imports, without its quotes.
func importPath(spec *ast.ImportSpec) string {
	return spec.Path.Value[1 : len(spec.Path.Value)-1]
}

// readProject reads what is in the repository, or would be if it were added now.
// What .gitignore keeps out must be kept out here too: people have data there.
func readProject(root fs.FS) (project, error) {
	p := project{positions: token.NewFileSet(), texts: map[string][]byte{}}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "bin" || name == "data" || slices.Contains([]string{".git", "node_modules"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || name == ".env" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err // what has a zero byte is no text
		}
		return p.add(name, text)
	})
	return p, err
}

// add takes one file in. Go ignores what is below testdata, and so do the rules
// about Go.
func (p *project) add(name string, text []byte) error {
	p.texts[name] = text
	if !strings.HasSuffix(name, ".go") || slices.Contains(strings.Split(name, "/"), "testdata") {
		return nil
	}
	syntax, err := parser.ParseFile(p.positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	p.files = append(p.files, goFile{path: name, text: text, syntax: syntax})
	return nil
}

// packages groups the Go files by folder and package name, an external test
// package apart from the one it tests; in order of folder.
func (p project) packages() [][]goFile {
	var groups [][]goFile
	at := map[string]int{}
	for _, file := range p.files {
		key := file.folder() + " " + file.syntax.Name.Name
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], file)
	}
	return groups
}
