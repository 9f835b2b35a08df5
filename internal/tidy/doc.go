// Package tidy stands beside the line and looks at the project itself: who may
// import whom, how large a function may grow, what a package may be called, what
// must not be written anywhere. It has tests only; each house rule is one, and
// each rule is shown a small breach of itself, so that a rule which can not fail
// is noticed.
//
// A breach says where it is and what to do. Where a rule is wrong, change the
// rule and write down why; there is no list of exceptions.
package tidy
