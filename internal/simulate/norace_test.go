//go:build !race

package simulate_test

// isRace tells whether the race detector slows everything down.
const isRace = false
