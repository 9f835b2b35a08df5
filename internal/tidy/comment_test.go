package tidy_test

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// packageCommentRule lets every package open with where it stands.
func packageCommentRule(p project) []string {
	var breaches []string
	for _, files := range p.packages() {
		name, found := files[0].syntax.Name.Name, false
		if strings.HasSuffix(name, "_test") && files[0].isTest() {
			continue
		}
		opening := "Package " + name + " "
		if name == "main" {
			opening = ""
		}
		for _, file := range files {
			text := file.syntax.Doc.Text()
			found = found || text != "" && strings.HasPrefix(text, opening)
		}
		if !found {
			breaches = append(breaches, fmt.Sprintf("%s: no comment %q; place the package on the line", files[0].folder(), opening+"..."))
		}
	}
	return breaches
}

// commentRule wants a comment on what others can name, and a sentence before each
// test on what it proves.
func commentRule(p project) []string {
	var breaches []string
	for _, file := range p.files {
		for _, declaration := range file.syntax.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				if declaration.Doc.Text() != "" {
					continue
				}
				name := declaration.Name.Name
				switch {
				case file.isTest() && isProof(name):
					breaches = append(breaches, fmt.Sprintf("%s: %s has no comment; open with a sentence on what it proves", p.at(declaration), name))
				case !file.isTest() && declaration.Name.IsExported() && receiverIsExported(declaration):
					breaches = append(breaches, fmt.Sprintf("%s: %s is exported and has no comment", p.at(declaration), name))
				}
			case *ast.GenDecl:
				if !file.isTest() {
					breaches = append(breaches, uncommented(p, declaration)...)
				}
			}
		}
	}
	return breaches
}

// isProof tells whether a function of a test file proves something when go test
// runs it; a benchmark does not.
func isProof(name string) bool {
	for _, kind := range []string{"Test", "Fuzz"} {
		if strings.HasPrefix(name, kind) && name != "TestMain" {
			return true
		}
	}
	return false
}

// receiverIsExported tells whether others can call a method; a function they can.
func receiverIsExported(function *ast.FuncDecl) bool {
	if function.Recv == nil {
		return true
	}
	receiver := function.Recv.List[0].Type
	if generic, ok := receiver.(*ast.IndexExpr); ok {
		receiver = generic.X
	}
	name := root(receiver)
	return name == nil || name.IsExported()
}

// uncommented finds the exported names of a declaration that neither have a
// comment nor stand in a group that has one.
func uncommented(p project, declaration *ast.GenDecl) []string {
	var breaches []string
	report := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		for _, comment := range append(comments, declaration.Doc) {
			if comment.Text() != "" {
				return
			}
		}
		if name.IsExported() {
			breaches = append(breaches, fmt.Sprintf("%s: %s is exported and has no comment", p.at(name), name.Name))
		}
	}
	for _, spec := range declaration.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			report(spec.Name, spec.Doc)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				report(name, spec.Doc, spec.Comment)
			}
		}
	}
	return breaches
}

// parallelRule lets every test run beside the others, as instances of the program
// do; but for those that change the environment or the working directory, or count
// what the whole process allocates.
func parallelRule(p project) []string {
	var breaches []string
	for _, file := range p.files {
		for _, declaration := range file.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || !file.isTest() || !isProof(function.Name.Name) || !strings.HasPrefix(function.Name.Name, "Test") {
				continue
			}
			alone := slices.ContainsFunc(calls(function.Body), func(name string) bool {
				return name == "t.Setenv" || name == "t.Chdir" || name == "testing.AllocsPerRun" || name == "runtime.ReadMemStats"
			})
			if !alone && !opensWith(function, "t.Parallel") {
				breaches = append(breaches, fmt.Sprintf("%s: %s does not open with t.Parallel()", p.at(function), function.Name.Name))
			}
		}
	}
	return breaches
}

// calls names the functions that are called in a block.
func calls(block *ast.BlockStmt) []string {
	var names []string
	ast.Inspect(block, func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			names = append(names, callee(call))
		}
		return true
	})
	return names
}

// opensWith tells whether the first statement of a function is a call of name.
func opensWith(function *ast.FuncDecl, name string) bool {
	if len(function.Body.List) == 0 {
		return false
	}
	first, ok := function.Body.List[0].(*ast.ExprStmt)
	return ok && callee(first.X) == name
}
