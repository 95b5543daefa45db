# Everything that a developer or a visitor starts. Each target sets up first what it needs; a second time costs
# a fraction of a second. Options of a command go into ARGS: make up ARGS='--listen 127.0.0.1:9000'

ARGS ?=
SCHEDULES ?= 1000000
NODE := .toolchain/bin/node

.PHONY: help setup demo up test test-long test-clients proof check fix bench clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

setup: ## fetch what is needed: Node.js, libraries, QEMU, the guest image
	@sh tools/setup.sh

demo: setup ## servers cross between two cells on real QEMU, in six scenes
	@bin/crosscell demo $(ARGS)

up: setup ## the system, running until Ctrl-C; its data is kept
	@bin/crosscell up $(ARGS)

test: setup ## lint, types and all tests; ARGS='src/model' for a part
	@$(NODE) tools/test.ts $(ARGS)

test-long: setup ## all tests: a million schedules (SCHEDULES=50000 for fewer), all pairs of faults, every kill on QEMU
	@CROSSCELL_LONG=1 PROPERTY_SEED=random SIMULATION_SCHEDULES=$(SCHEDULES) FIRE_CASES=all $(NODE) tools/test.ts --limit-s 14400 $(ARGS)

test-clients: setup ## Tempest, the openstack command, SDKs and Terraform, against two cells; ARGS="--qemu --list resize" for real guests
	@$(NODE) test/clients/main.ts $(ARGS)

proof: setup ## docs/proof.md, from runs made now
	@$(NODE) tools/proof/main.ts $(ARGS)

check: setup ## lint and types alone
	@$(NODE) tools/test.ts --check-only

fix: setup ## let the linter correct what it can
	@node_modules/.bin/biome check --write .

bench: setup ## the measurements, as a table
	@$(NODE) bench/main.ts $(ARGS)

clean: ## remove what can be made again (not the data of 'make up')
	rm -rf node_modules .toolchain coverage var/cache var/demo
