# `make` lists what there is. The text after ## is what it shows.
LAB := target/debug/pathsteer-lab
# Programs to compare with, which Debian does not have
TOOLS := target/bench/tools

.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-all lab lab-down selftest bench test vm fuzz lint schemas

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing on Debian 12 (root)
	@deploy/setup.sh

# One profile for everything, so that demo and test share a build; dependencies are optimised in it.
build: setup ## Build every program
	@cargo build --workspace

demo: build ## Show that traffic survives: faults on a live network, every packet counted (root, 4 min)
	@$(LAB) demo

demo-all: build ## The same with every scenario there is (root)
	@$(LAB) demo --all

lab: build ## Start the demo's network and leave it running, to try things by hand (root)
	@$(LAB) lab up

lab-down: ## End it; nothing is left behind
	@if [ -x $(LAB) ]; then $(LAB) lab down; else echo "lab: not built, so not running"; fi

selftest: build ## Prove the lab itself, without PathSteer in it (root)
	@$(LAB) selftest

# Optimised, as programs are shipped.
bench: setup ## Measure what packets and the agent cost, beside others; SECTION=datapath, reconcile or control (root, 50 min)
	@cargo build --release --workspace
	@test -x $(TOOLS)/bin/gotatun || cargo install --quiet --locked --root $(TOOLS) --no-default-features \
		--features ring gotatun-cli --version =0.10.2 || echo "bench: no gotatun-cli to compare with"
	@target/release/pathsteer-bench --section $(or $(SECTION),all)

test: build ## Run every test (root)
	@cargo test --workspace

vm: build ## Only what `test` runs on Debian's stock kernels, emulated (root)
	@cargo test --workspace --test vm

# What it finds is kept: the corpus and agent/bpf/fuzz/RESULTS.md are written anew.
SECONDS ?= 60
fuzz: setup ## Fuzz the BPF programs in user space (SECONDS=60)
	@agent/bpf/fuzz/run.sh $(SECONDS)

lint: setup ## Check format and run clippy; warnings are errors
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

schemas: ## Write schemas/ and docs/reference/ from the types
	@cargo run --quiet -p pathsteer-crds --example schemas
