#!/bin/bash
# Checks the model of delivery, relay.pml, with Spin. What must hold is searched to its end;
# a mutant, which has one guard less, must fail in the way that its guard prevents. It prints
# a row for each case, and ends with 1 if one is not as it must be, or could not be run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly depth=1000000 # steps of one path; a case that has a longer one is not well
readonly patience=900  # seconds for one case; on two idle cores the longest takes some 25

# Cases: name | safety or liveness | holds or fails | what is defined besides a budget of 0 for all
# faults. Each mutant meets the least faults that its guard is for, and the same case without
# the mutant is among those that hold.
cases=(
	"safety: crash, broker loss|safety|holds|CR=1 BL=1"
	"safety: crash, payments restore|safety|holds|CR=1 PR=1"
	"safety: crash, claims restore|safety|holds|CR=1 DR=1"
	"safety: crash, lost commit answer|safety|holds|CR=1 UC=1"
	"safety: broker loss, payments restore|safety|holds|BL=1 PR=1"
	"safety: broker loss, claims restore|safety|holds|BL=1 DR=1"
	"safety: broker loss, lost commit answer|safety|holds|BL=1 UC=1"
	"safety: payments restore, claims restore|safety|holds|PR=1 DR=1"
	"safety: payments restore, lost commit answer|safety|holds|PR=1 UC=1"
	"safety: claims restore, lost commit answer|safety|holds|DR=1 UC=1"
	"liveness: claims restore|liveness|holds|DR=1" # the longest of them first
	"liveness: payments restore|liveness|holds|PR=1"
	"liveness: broker loss|liveness|holds|BL=1"
	"liveness: crash|liveness|holds|CR=1"
	"liveness: lost commit answer|liveness|holds|UC=1"
	"liveness: no fault|liveness|holds|"
	"mutant SETTLE_ON_ACK: broker loss|liveness|fails|BL=1 SETTLE_ON_ACK"
	"mutant NO_SWEEP: no fault|liveness|fails|NO_SWEEP"
	"mutant NO_REPUBLISH: broker loss|liveness|fails|BL=1 NO_REPUBLISH"
	"mutant SAME_MSGID: payments restore|liveness|fails|PR=1 SAME_MSGID"
	"mutant NO_HWM: payments restore|liveness|fails|PR=1 NO_HWM"
	"mutant TERM_NO_DLQ: no fault|liveness|fails|TERM_NO_DLQ"
	"mutant CURSOR: no fault|liveness|fails|CURSOR"
	"mutant NO_UNIQUE: crash|safety|fails|CR=1 NO_UNIQUE"
	"mutant RANDOM_ID: claims restore|safety|fails|DR=1 RANDOM_ID"
	"mutant SELECT_ONLY: lost commit answer|safety|fails|UC=1 SELECT_ONLY"
)
readonly cases

# What the cases must be, whoever edits them: every pair of faults, no fault and each alone, every mutant.
readonly faults=(CR BL PR DR UC)
readonly mutants=(
	SETTLE_ON_ACK NO_SWEEP NO_REPUBLISH SAME_MSGID NO_HWM TERM_NO_DLQ CURSOR NO_UNIQUE RANDOM_ID SELECT_ONLY
)

# demanded lists what must be searched, a line each: a mutant by its name, whatever faults it meets.
demanded() {
	local one other
	echo "liveness|holds|"
	for one in "${!faults[@]}"; do
		echo "liveness|holds|${faults[one]}=1"
		for ((other = one + 1; other < ${#faults[@]}; other++)); do
			echo "safety|holds|${faults[one]}=1 ${faults[other]}=1"
		done
	done
	printf 'fails|%s\n' "${mutants[@]}"
}

# listed lists the cases in the same way.
listed() {
	local kind want words each
	for each in "${cases[@]}"; do
		IFS='|' read -r _ kind want words <<<"$each"
		if [[ $want == fails ]]; then
			echo "fails|${words##*=1 }"
		else
			echo "$kind|$want|$words"
		fi
	done
}

if ! difference=$(diff <(demanded | sort) <(listed | sort)); then
	printf '%s\n' "$difference" >&2
	echo "model: not well: what is marked < must be among the cases and is not, what is marked > must not be" >&2
	exit 1
fi

for tool in spin gcc timeout nproc; do
	if ! command -v "$tool" >/dev/null; then
		echo "model: $tool is not installed; on Debian: apt-get install spin gcc libc6-dev coreutils" >&2
		exit 1
	fi
done

work=$(mktemp -d)
readonly work
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# build makes the search of one case in the working directory: build KIND WORD...
build() {
	local kind=$1 word defined=()
	shift
	for word in CR BL PR DR UC; do
		[[ " $* " == *" $word=1 "* ]] || defined+=("-D$word=0")
	done
	for word in "$@"; do
		defined+=("-D$word")
	done
	spin -a "${defined[@]}" relay.pml || return
	local flags=(-DSAFETY -DNOCLAIM)
	[[ $kind == safety ]] || flags=(-DNFAIR=3)
	gcc -O1 -w "${flags[@]}" -DVECTORSZ=2048 -o pan pan.c
}

# checks tells whether a search looked for what it is there for.
checks() {
	if [[ $1 == safety ]]; then
		grep -q 'assertion violations[[:space:]]*+$' found
	else
		grep -q 'never claim[[:space:]]*+ (live)' found && grep -q 'acceptance[[:space:]]*cycles[[:space:]]*+ (fairness enabled)' found
	fi
}

# judge says what the search found: judge KIND WANT. A search that was not of what it should
# be, or did not end, is never well.
judge() {
	local kind=$1 want=$2 errors
	errors=$(sed -n 's/^State-vector .* errors: \([0-9][0-9]*\)$/\1/p' found)
	local reason='assertion violated'
	[[ $kind == safety ]] || reason='acceptance cycle'
	if ! checks "$kind"; then
		echo "NOT WELL: $kind was not searched for"
		return
	fi
	case "$want ${errors:-none}" in
	*" none") echo "NOT WELL: the search gave no result" ;;
	"holds 0")
		if grep -q 'Search not completed\|max search depth too small' found; then
			echo "NOT WELL: the search is not complete"
		else
			echo "holds"
		fi
		;;
	holds*) echo "NOT WELL: fails, and must hold" ;;
	"fails 0") echo "NOT WELL: holds, and must fail" ;;
	*) if grep -q "$reason" found; then echo "fails, as it must"; else echo "NOT WELL: fails for another reason"; fi ;;
	esac
}

# check runs one case in a folder of its own, and prints its row: check NUMBER CASE.
check() {
	local name kind want words started=$SECONDS verdict pid code=0
	IFS='|' read -r name kind want words <<<"$2"
	mkdir "$work/$1"
	cp relay.pml "$work/$1"
	cd "$work/$1"
	# shellcheck disable=SC2086 # the words are apart
	if ! build "$kind" $words >log 2>&1; then
		verdict="NOT WELL: could not be built: $(tail -n 1 log)"
	else
		local flags=(-noclaim -E)
		[[ $kind == safety ]] || flags=(-a -f)
		timeout "$patience" ./pan "${flags[@]}" "-m$depth" >found 2>&1 &
		pid=$!
		trap 'kill "$pid"; exit 1' TERM
		wait "$pid" || code=$?
		verdict=$(judge "$kind" "$want")
		((code == 0)) || verdict="NOT WELL: the search ended with code $code"
	fi
	[[ $verdict == NOT* ]] || touch well
	printf '%-46s %9s %8s  %s\n' "$name" "$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' found 2>/dev/null || true)" "$((SECONDS - started))" "$verdict"
}

printf '%-46s %9s %8s  %s\n' case states seconds verdict
for number in "${!cases[@]}"; do
	while (($(jobs -pr | wc -l) >= $(nproc))); do
		wait -n || true
	done
	check "$number" "${cases[$number]}" &
done
wait
well=("$work"/*/well)
[[ -e ${well[0]} ]] || well=()
if ((${#well[@]} != ${#cases[@]})); then
	echo "model: not well: only ${#well[@]} of ${#cases[@]} cases are as they must be" >&2
	exit 1
fi
pairs=$((${#faults[@]} * (${#faults[@]} - 1) / 2))
echo "model: all ${#cases[@]} cases are as they must be, after $SECONDS s: $pairs pairs of faults, $((${#faults[@]} + 1)) cases of liveness, ${#mutants[@]} mutants"
