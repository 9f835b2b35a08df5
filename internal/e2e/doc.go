// Package e2e is the whole line, as it runs: the program is built, started as a
// process of its own on the embedded default, and then everything is done to it that
// happens to programs. It is killed and stopped under load, its databases and its
// broker are taken away, its disk is full, its messages are poisoned. It is started as many
// processes of each role as well (see fleet), on a Postgres server and a NATS cluster that
// are killed with them. Package has tests only.
//
// Every test ends the same way: what clients were told is held against what is stored
// and what is paid (see history), verify has to be clean, and nothing of what is
// protected may have left the claims database.
package e2e
