// Package simulate runs the delivery of claims, from the client to the payment, as a
// simulation: committer, relay, sweep, consumer and desk as they are, over databases, a
// broker, a clock and a random source that one seed drives. It stands beside the line,
// and has nothing but tests: one seed is one run, the same whenever it is repeated.
package simulate
