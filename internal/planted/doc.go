// Package planted shows that the tests of delivery can fail. It stands beside the line: it
// plants bugs, one at a time, each of which would lose a claim, pay one twice or pay it
// wrongly, and demands that the test which is there against it fails.
//
// A bug is an exact text of the source and what stands there instead, so that the program
// itself holds no trace of it; the go command builds with the changed file in place of the
// real one (-overlay), and nothing is written into the tree. A bug whose text is no
// longer found fails too: whoever changes that code moves the bug along.
//
// All of it is behind the build tag plant, for it takes minutes: make plant.
package planted
