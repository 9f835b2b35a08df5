# The commands of this project; "make" lists them. A step of the gate is one target:
# it is quiet when all is well, and otherwise names itself and says what to do.

GO       ?= go
FUZZTIME ?= 30s
CLAIMS   ?= 50000
SEEDS    ?= 20000
HOURS    ?= 48
tool      = $(GO) tool -modfile=tools.mod
version   = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# $(call step,COMMAND,ADVICE) runs one step. It is well when COMMAND ends well and
# writes nothing to its standard output; what it wrote to both is shown if not.
define step
@started=$$(date +%s); log=$$(mktemp); found=$$( ( $(1) ) 2>"$$log" ); code=$$?; \
if [ $$code -eq 0 ] && [ -z "$$found" ]; then \
	echo "$@: well ($$(($$(date +%s) - started)) s)"; rm -f "$$log"; \
else \
	cat "$$log"; rm -f "$$log"; [ -z "$$found" ] || printf '%s\n' "$$found"; \
	echo "$@: not well: $(2)"; exit 1; \
fi >&2
endef

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: build ## build, and serve on http://localhost:8000 with the data in ./data
	./bin/claimrail serve

.PHONY: build
build: ## build bin/claimrail, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(version)' -o bin/claimrail ./cmd/claimrail

.PHONY: test
test: ## run all tests
	$(GO) test ./...

# make -k check runs every step, also past one that fails.
.PHONY: check
check: format vet staticcheck deadcode fix modules race ## the gate: all that must be well before a commit goes out

.PHONY: format
format: ## gate: gofumpt has nothing to change
	$(call step,$(tool) gofumpt -l .,run: $(tool) gofumpt -w .)

.PHONY: vet
vet: ## gate: go vet finds nothing, and the benchmarks, a module of their own, build
	$(call step,$(GO) vet ./... && $(GO) vet -C bench ./...,mend what is listed above)

.PHONY: staticcheck
staticcheck: ## gate: staticcheck finds nothing
	$(call step,$(tool) staticcheck ./...,mend what is listed above; staticcheck -explain CODE tells more)

.PHONY: deadcode
deadcode: ## gate: every function is reached by the program or a test
	$(call step,$(tool) deadcode -test ./...,take out the functions listed above; or use them)

.PHONY: fix
fix: ## gate: nothing is written in an older Go than it could be
	$(call step,$(GO) fix -diff ./...,run: $(GO) fix ./...)

.PHONY: modules
modules: ## gate: go.mod and go.sum list what is used
	$(call step,$(GO) mod tidy -diff,run: $(GO) mod tidy)

.PHONY: race
race: ## gate: all tests pass with the race detector, in any order
	$(call step,CGO_ENABLED=1 $(GO) test -race -shuffle=on ./... >&2,mend it; go test -race -shuffle=SEED repeats an order)

.PHONY: many
many: ## kill processes, brokers and Postgres in turn under CLAIMS (50000) claims, and show the figures
	E2E_CLAIMS=$(CLAIMS) $(GO) test -count=1 -timeout 20m -v -run '^TestManyInstances$$' ./internal/e2e

# The long form: make torture KILLS=400 ROUNDS=300 CUTS=50 CLAIMS=5000000 MESSAGES=1000000; docs/reliability.md has it rig by rig
.PHONY: torture
torture: ## as root: power cuts, kills, replays and worse, with a table at the end; the long form by variables, RIG=NAME one rig
	E2E_TORTURE=1 E2E_SEED=$(SEED) E2E_KILLS=$(KILLS) E2E_ROUNDS=$(ROUNDS) E2E_CUTS=$(CUTS) E2E_MESSAGES=$(MESSAGES) E2E_CLAIMS=$(CLAIMS) \
		E2E_CLIENTS=$(CLIENTS) E2E_MINUTES=$(MINUTES) \
		$(GO) test -count=1 -timeout $(HOURS)h -v -run '^TestTorture$$/^$(or $(RIG),.*)$$' ./internal/e2e

.PHONY: simulate
simulate: ## simulate delivery under SEEDS (20000) seeds: whatever goes wrong, every claim is paid once
	SIMULATE_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 0 -v -run '^TestSeeds$$' ./internal/simulate

.PHONY: model
model: ## search the model of delivery, docs/model, with Spin
	@bash docs/model/check.sh

.PHONY: plant
plant: ## plant sixteen bugs, one after another, and show which test catches each
	$(GO) test -tags plant -count=1 -timeout 30m -v ./internal/planted

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@set -e; for folder in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		listed=$$($(GO) test -list '^Fuzz' "$$folder") || { printf '%s\n' "$$listed"; exit 1; }; \
		for target in $$(printf '%s\n' "$$listed" | grep '^Fuzz'); do \
			echo "fuzz: $$target in $$folder for $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$folder" || \
				{ echo "fuzz: not well: mend it; and keep the input that go test wrote below testdata"; exit 1; }; \
		done; \
	done

.PHONY: bench
bench: ## measure every row of docs/benchmarks.md but verify and growth; make bench-NAME measures one
	cd bench && $(GO) build -o ../bin/bench . && ../bin/bench -root ..

.PHONY: bench-%
bench-%:
	cd bench && $(GO) build -o ../bin/bench . && ../bin/bench -root .. $*

.PHONY: hot
hot: ## run the benchmarks of the hot functions
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: cover
cover: ## tell how much of the code the tests reach; the lines are in coverage.html
	$(GO) test -coverpkg=./... -coverprofile=coverage.out ./...
	$(GO) tool cover -html=coverage.out -o coverage.html
	@$(GO) tool cover -func=coverage.out | tail -1
