package tidy_test

import (
	"bytes"
	"fmt"
	"go/ast"
)

// What fits into one head, in lines.
const (
	maxFunctionLines = 70
	maxFileLines     = 500
	maxTestFileLines = 800
)

// sizeRule keeps functions and files short, in tests too.
func sizeRule(p project) []string {
	var breaches []string
	for _, file := range p.files {
		limit := maxFileLines
		if file.isTest() {
			limit = maxTestFileLines
		}
		if lines := bytes.Count(file.text, []byte("\n")); lines > limit {
			breaches = append(breaches, fmt.Sprintf("%s: file of %d lines, at most %d; give one of its subjects a file", file.path, lines, limit))
		}
		for _, declaration := range file.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := p.positions.Position(function.End()).Line - p.positions.Position(function.Pos()).Line + 1
			if lines > maxFunctionLines {
				breaches = append(breaches, fmt.Sprintf("%s: %s has %d lines, at most %d; give one of its steps a name",
					p.at(function), function.Name.Name, lines, maxFunctionLines))
			}
		}
	}
	return breaches
}
