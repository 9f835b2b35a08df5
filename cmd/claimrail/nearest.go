package main

// maxTypos is how many letters may be wrong, missing, too many or swapped in what is
// taken for a mistyped name; of short names, at most a third of the letters.
const maxTypos = 3

// nearest gives the known name that a mistyped one is likely to mean. Of two equally
// near ones it is the one that sorts first.
func nearest(typed string, known []string) (string, bool) {
	best, least := "", min(maxTypos, max(1, len(typed)/3))+1
	for _, name := range known {
		distance := typos(typed, name)
		if distance < least || distance == least && best != "" && name < best {
			best, least = name, distance
		}
	}
	return best, best != ""
}

// typos counts the edits between two names: a letter more, less or another, or two
// neighbours swapped.
func typos(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
