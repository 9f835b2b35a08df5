package pgstore

// LookFirst has the next Accept look for what is there first, as after claims that were sent again.
func (s *Store) LookFirst() { s.lookFirst.Store(true) }
