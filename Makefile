# Every target works on a fresh machine with Go alone; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash

# Tools of a pinned version, installed into .cache/bin on first use.
GOLANGCI_VERSION := v2.15.0
GOFUMPT_VERSION := v0.12.0
TOOLS := $(CURDIR)/.cache/bin

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s
BENCH ?= .
TESTFLAGS ?=

.PHONY: help build demo test test-race e2e lint fmt fuzz bench clean

help: ## list these targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/omnid and bin/omnictl
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/omnid ./cmd/omnictl

demo: build ## the main job: a region dies, and a tenant leaves it by itself, on real processes
	bin/omnictl demo

test: ## all tests: unit, both stores (PostgreSQL is installed if it is missing and we may), and e2e
	go test $(TESTFLAGS) -timeout 20m ./...

test-race: ## the same under the race detector
	go test -race $(TESTFLAGS) -timeout 30m ./...

e2e: ## only the scripts over both real binaries
	go test $(TESTFLAGS) -count=1 -timeout 15m ./e2e/...

lint: $(TOOLS)/golangci-lint $(TOOLS)/gofumpt ## linters and formatting
	@test -z "$$($(TOOLS)/gofumpt -l cmd e2e examples migrations pkg *.go)" || { echo "not gofumpt'ed:"; $(TOOLS)/gofumpt -l cmd e2e examples migrations pkg *.go; exit 1; }
	$(TOOLS)/golangci-lint run --allow-parallel-runners

fmt: $(TOOLS)/golangci-lint $(TOOLS)/gofumpt ## format everything
	$(TOOLS)/gofumpt -w cmd e2e examples migrations pkg *.go
	$(TOOLS)/golangci-lint fmt

fuzz: ## run every fuzz target for FUZZTIME (default 10s) each
	@for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$package/*_test.go | awk '{print $$2}'); do \
	    echo "$$package $$target"; go test $$package -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) || exit 1; \
	  done; done

bench: ## benchmarks (BENCH=regexp)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

clean: ## remove what was built
	rm -rf bin .cache

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(TOOLS)/gofumpt:
	GOBIN=$(TOOLS) go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
