# `make` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run test check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start Moa with everything it needs in one process
	cargo run --locked --release

test: ## Find or start the servers, then run every test
	@command -v python3 >/dev/null || { echo "make test needs python3: install it" >&2; exit 1; }
	@PYTHONDONTWRITEBYTECODE=1 python3 scripts/with_servers.py scripts/run-tests

check: ## Check the format, lints, documentation and dependencies
	@scripts/check
