package tidy_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"
)

// values are calls that make what nobody changes.
var values = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "reflect.TypeFor", "time.Date", "uuid.MustParse",
}

// changers change what they are given first, or give it back changed.
var changers = []string{
	"append", "clear", "copy", "delete", "maps.Copy", "maps.DeleteFunc", "slices.Reverse", "slices.Sort", "slices.SortFunc", "slices.SortStableFunc",
	"slices.Delete", "slices.DeleteFunc", "slices.Compact", "slices.CompactFunc", "sort.Slice", "sort.SliceStable", "sort.Sort", "sort.Strings", "sort.Ints",
}

// stateRule keeps packages without state: a package-level variable is an error (also
// one of a package's own type, under a name that opens with err), a
// value from one of the calls above, a file embedded, or a table that only its own
// package sees; and nobody assigns to it, to an element of it, or takes its
// address. There is no init either: what must be made is made by who needs it.
func stateRule(p project) []string {
	var breaches []string
	for _, files := range p.packages() {
		info := uses(p, files)
		level := map[types.Object]bool{}
		for _, file := range files {
			for _, declaration := range file.syntax.Decls {
				switch declaration := declaration.(type) {
				case *ast.FuncDecl:
					if declaration.Name.Name == "init" && declaration.Recv == nil {
						breaches = append(breaches, p.at(declaration)+": init; make what it makes where it is needed, and pass it on")
					}
				case *ast.GenDecl:
					for _, spec := range declaration.Specs {
						if spec, ok := spec.(*ast.ValueSpec); ok && declaration.Tok == token.VAR {
							breaches = append(breaches, variables(p, file, declaration, spec)...)
							for _, name := range spec.Names {
								level[info.Defs[name]] = true
							}
						}
					}
				}
			}
		}
		for _, file := range files {
			ast.Inspect(file.syntax, func(node ast.Node) bool {
				for _, changed := range changes(node) {
					name := root(changed)
					if name != nil && info.Uses[name] != nil && level[info.Uses[name]] {
						breaches = append(breaches, fmt.Sprintf("%s: package-level %s can be changed here; pass a value instead", p.at(node), name.Name))
					}
				}
				return true
			})
		}
	}
	return breaches
}

// variables finds what in one declaration is not a value that stays what it is.
func variables(p project, file goFile, declaration *ast.GenDecl, spec *ast.ValueSpec) []string {
	var breaches []string
	for i, name := range spec.Names {
		var value ast.Expr
		if i < len(spec.Values) {
			value = spec.Values[i]
		}
		report := func(why string) {
			breaches = append(breaches, fmt.Sprintf("%s: package-level variable %s: %s", p.at(name), name.Name, why))
		}
		call := callee(value)
		switch {
		case name.Name == "_" || call == "errors.New" || call == "fmt.Errorf":
		case strings.HasPrefix(name.Name, "err") && pointsToLiteral(value):
		case name.IsExported():
			report("others can assign to it; give a constant or a function")
		case slices.Contains(values, call) || isTable(value):
		case value == nil && (embeds(declaration.Doc) || embeds(spec.Doc)):
		case name.Name == "version" && file.syntax.Name.Name == "main": // the linker sets it
		default:
			report("it can change; make it a constant, a table, or pass it")
		}
	}
	return breaches
}

// callee names the function that an expression calls, as pkg.Name or name; "" if
// it is no such call.
func callee(expression ast.Expr) string {
	call, ok := expression.(*ast.CallExpr)
	if !ok {
		return ""
	}
	function := call.Fun
	if generic, ok := function.(*ast.IndexExpr); ok {
		function = generic.X
	}
	switch function := function.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		if of, ok := function.X.(*ast.Ident); ok {
			return of.Name + "." + function.Sel.Name
		}
	}
	return ""
}

// isTable tells whether an expression lists a map, an array or a slice.
func isTable(expression ast.Expr) bool {
	literal, ok := expression.(*ast.CompositeLit)
	if !ok {
		return false
	}
	switch literal.Type.(type) {
	case *ast.ArrayType, *ast.MapType:
		return true
	}
	return false
}

// pointsToLiteral tells whether an expression is the address of a new struct.
func pointsToLiteral(expression ast.Expr) bool {
	address, ok := expression.(*ast.UnaryExpr)
	if !ok || address.Op != token.AND {
		return false
	}
	_, ok = address.X.(*ast.CompositeLit)
	return ok
}

// embeds tells whether a comment has the directive that embeds files.
func embeds(comment *ast.CommentGroup) bool {
	return comment != nil && slices.ContainsFunc(comment.List, func(line *ast.Comment) bool {
		return strings.HasPrefix(line.Text, "//go:embed ")
	})
}

// changes lists the expressions that a node assigns to, passes to a changer, or
// takes the address of.
func changes(node ast.Node) []ast.Expr {
	switch node := node.(type) {
	case *ast.AssignStmt:
		if node.Tok != token.DEFINE {
			return node.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{node.X}
	case *ast.RangeStmt:
		if node.Tok == token.ASSIGN {
			return []ast.Expr{node.Key, node.Value}
		}
	case *ast.UnaryExpr:
		if node.Op == token.AND {
			return []ast.Expr{node.X}
		}
	case *ast.CallExpr:
		if slices.Contains(changers, callee(node)) && len(node.Args) > 0 {
			return node.Args[:1]
		}
	}
	return nil
}

// root finds the variable that an expression is an element, a field or a part of;
// nil if there is none.
func root(expression ast.Expr) *ast.Ident {
	for {
		switch part := expression.(type) {
		case *ast.Ident:
			return part
		case *ast.IndexExpr:
			expression = part.X
		case *ast.SelectorExpr:
			expression = part.X
		case *ast.SliceExpr:
			expression = part.X
		case *ast.StarExpr:
			expression = part.X
		case *ast.ParenExpr:
			expression = part.X
		default:
			return nil
		}
	}
}

// uses tells which declaration each name of a package means. Imports are taken for
// empty: what they would give is not package-level here.
func uses(p project, files []goFile) types.Info {
	info := types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: emptyImporter{}, Error: func(error) {}}
	var syntax []*ast.File
	for _, file := range files {
		syntax = append(syntax, file.syntax)
	}
	_, _ = config.Check(files[0].folder(), p.positions, syntax, &info) // it misses all that is imported
	return info
}

// emptyImporter finds every package, and nothing in it.
type emptyImporter struct{}

// Import implements types.Importer.
func (emptyImporter) Import(name string) (*types.Package, error) {
	found := types.NewPackage(name, path.Base(name))
	found.MarkComplete()
	return found, nil
}

// callRule forbids calls that have no place: waiting for time to pass instead of
// for what is waited for, and printing past the log outside of the command.
func callRule(p project) []string {
	var breaches []string
	for _, file := range p.files {
		ast.Inspect(file.syntax, func(node ast.Node) bool {
			expression, _ := node.(ast.Expr)
			name := callee(expression)
			if selector, ok := node.(*ast.SelectorExpr); ok { // also where it is not called but passed on
				if of, ok := selector.X.(*ast.Ident); ok && of.Name == "time" && selector.Sel.Name == "Sleep" {
					breaches = append(breaches, p.at(node)+": sleep; wait for a signal or a timer with the context, in tests with testing/synctest")
				}
			}
			if slices.Contains([]string{"fmt.Print", "fmt.Printf", "fmt.Println"}, name) && !strings.HasPrefix(file.path, "cmd/") {
				breaches = append(breaches, fmt.Sprintf("%s: %s; log it, or return it", p.at(node), name))
			}
			return true
		})
	}
	return breaches
}
