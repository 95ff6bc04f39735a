# Every target that a newcomer looks for. `make` alone lists them.
SHELL := bash

GO            ?= go
# The dashboards, the linter of rules, and the tests of alerting are a module of their own: docs/decisions/0008.
MONITORING    := $(GO) -C internal/monitoring
GOLANGCI_LINT := .tools/golangci-lint-2.15.0
VERSION       ?=
LDFLAGS       := -s -w $(if $(VERSION),-X main.release=$(VERSION))
# How long each fuzz target runs.
FUZZTIME      ?= 30s
TESTFLAGS     := -shuffle=on -count=1 -p 1 -timeout 15m
# What make chaos does; it draws a seed where none is set.
MINUTES       ?= 10
RATE          ?= 100
SEED          ?=

.DEFAULT_GOAL := help
.PHONY: help setup run stack-local build test test-packages test-monitoring test-short race fuzz chaos bench cover alerts-check dashboards screenshots lint fmt vet check \
	migrate migration tidy clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(GOLANGCI_LINT) ## Fetch the modules and build the tools that `make check` needs
	$(GO) mod download

run: ## Serve the API; with nothing configured, on a private PostgreSQL under ./.data
	$(GO) run -ldflags '$(LDFLAGS)' ./cmd/speedy-bites

stack-local: ## Run API, PostgreSQL, Prometheus and Alertmanager without Docker; ARGS='-h' lists its flags
	$(MONITORING) run ./localstack/up $(ARGS)

build: ## Build bin/speedy-bites, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/speedy-bites ./cmd/speedy-bites

test: ## Run every test, with the race detector, on real servers
	$(GO) run ./internal/localpg/ensure
	$(GO) vet ./...
	$(GO) test $(TESTFLAGS) -race ./internal/app
	$(MONITORING) run ./localstack/ensure
	$(MONITORING) vet ./...
	@# The tests of alerting wait for minutes; the other packages run meanwhile.
	$(MAKE) -j 2 -k test-packages test-monitoring

test-packages:
	$(GO) test $(TESTFLAGS) -race $$($(GO) list ./... | grep -v '/internal/app$$')

test-monitoring:
	$(MONITORING) test $(TESTFLAGS) ./...

test-short: ## Run the quick tests only, in under a minute
	$(GO) run ./internal/localpg/ensure
	$(GO) test -short -timeout 5m ./...

race: ## Run the tests of the database layer 20 times, with the race detector
	$(GO) test -race -shuffle=on -count=20 -timeout 60m ./internal/postgres/...

fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

chaos: ## Let things go wrong under load for MINUTES (10) at RATE (100) requests/s, and check every order; SEED plays one again
	$(GO) run ./internal/localpg/ensure
	$(GO) run ./internal/chaos/run -minutes $(MINUTES) -rate $(RATE) $(if $(SEED),-seed $(SEED)) $(ARGS)

bench: ## Measure the price of resilience, in interleaved rounds; wants the machine to itself
	$(GO) test -run '^$$' -bench . -benchmem ./internal/postgres/... ./observability
	$(GO) test -tags bench -count=1 -v -timeout 20m ./internal/bench

cover: ## Write coverage.out and coverage.html
	$(GO) test -coverpkg ./... -coverprofile coverage.out ./...
	$(GO) tool cover -html coverage.out -o coverage.html

alerts-check: ## Check rules, routes, runbooks and dashboards, and play the incidents
	$(MONITORING) run ./localstack/ensure
	$(MONITORING) test -count=1 ./lint ./incident

dashboards: ## Write dashboards/*.json from internal/monitoring/boards
	$(MONITORING) test -count=1 ./boards -run TestGenerated -update

screenshots: ## Draw every dashboard from a live outage into .screenshots, without Grafana; takes node and Chromium
	cd internal/monitoring/render && npm ci --no-fund --no-audit
	mkdir -p .screenshots
	$(MONITORING) test -count=1 -v ./live -run TestOutageIsOnePage -screenshots .screenshots

lint: $(GOLANGCI_LINT) ## Run the linters
	$(GOLANGCI_LINT) run --build-tags bench ./...
	cd internal/monitoring && $(CURDIR)/$(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...

fmt: $(GOLANGCI_LINT) ## Format the code
	$(GOLANGCI_LINT) fmt ./...
	cd internal/monitoring && $(CURDIR)/$(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yml ./...

vet: ## Run go vet, also for the systems that are not this one
	$(GO) vet -tags bench ./...
	GOOS=darwin $(GO) vet ./...
	$(MONITORING) vet ./...

check: lint vet ## Everything that a change must pass
	$(GOLANGCI_LINT) fmt --diff ./...
	cd internal/monitoring && $(CURDIR)/$(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yml --diff ./...
	$(GO) mod tidy -diff
	$(MAKE) test

migrate: ## Apply the pending migrations to DATABASE_URL
	$(GO) run ./cmd/speedy-bites migrate up

migration: ## Start a new migration: make migration name=add_something
	@test -n "$(name)" || { echo "usage: make migration name=add_something"; exit 2; }
	@next=$$(printf '%04d' $$(( 10#$$(ls migrations/*.sql | sort | tail -n 1 | sed 's/[^0-9]*\([0-9]*\).*/\1/') + 1 ))) && \
		printf -- "-- +goose Up\nSET LOCAL lock_timeout = '5s';\n\n\n-- +goose Down\nSET LOCAL lock_timeout = '5s';\n" > migrations/$${next}_$(name).sql && \
		echo migrations/$${next}_$(name).sql

tidy: ## Tidy go.mod
	$(GO) mod tidy
	$(MONITORING) mod tidy -e # some tests of Prometheus's dependencies are in modules that not every proxy has

clean: ## Remove what was built; data and logs stay
	rm -rf bin coverage.out coverage.html

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv .tools/golangci-lint $@
