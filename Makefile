# make demo   three nodes in one process: keygen, signatures, the loss of a node     (ARGS="-n 5 -t 3" for more)
# make test   all tests
# make cluster        a NATS server and three nodes as processes, until Ctrl-C or make cluster-stop
#                     (ARGS="-n 5 -t 3 --port 4333" for another one)
# make cluster-stop   stops it from another terminal
# make sim    the simulated cluster: a thousand seeds     (SEEDS=100 FIRST=2000 for others, SEED=7 to replay one)
# make lint   formatting and clippy, warnings are errors
# make doc    the API's documentation, warnings are errors
# make bench  what operations cost, in release mode
# make chaos  processes that are killed, frozen, cut off, without disk, without broker, at any time and in each round
#             (ROUNDS=2)
# make soak   thousands of sessions, many of them aborted, in one process and in three: nothing is left behind
#             (SESSIONS=6000)
# make fuzz   libFuzzer on every parser that bytes from outside reach   (SECONDS=20 for each, TARGET=name for one)
#
# Each target installs the system packages that are missing, or says which they are. The tests and the cluster install a
# NATS server of their own below the cache folder, unless one that is new enough is in PATH.

.DEFAULT_GOAL := demo
.PHONY: demo test sim cluster cluster-stop lint doc bench chaos soak fuzz deps

# RocksDB takes a C++ compiler about 12 minutes. ccache, where it is there, makes that once for all folders and profiles.
export PATH := /usr/lib/ccache:$(PATH)

CARGO ?= cargo
ARGS ?=

demo: deps
	$(CARGO) run --locked --quiet -- demo $(ARGS)

test: deps
	NATS_SERVER=$$(.cargo/nats-server) && export NATS_SERVER && $(CARGO) test --locked

sim: SEEDS ?= 1000
sim: deps
	SEEDS=$(SEEDS) $(CARGO) test --locked --test sim -- --nocapture cluster__

cluster: deps
	@NATS_SERVER=$$(.cargo/nats-server) && export NATS_SERVER && \
	$(CARGO) run --locked --quiet -- cluster start $(ARGS)

cluster-stop: deps
	@$(CARGO) run --locked --quiet -- cluster stop $(ARGS)

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

chaos: deps
	NATS_SERVER=$$(.cargo/nats-server) && export NATS_SERVER && CHAOS_ROUNDS=$(or $(ROUNDS),2) \
	$(CARGO) test --locked --test processes -- --nocapture --test-threads=1 chaos:: kill_points::

soak: deps
	NATS_SERVER=$$(.cargo/nats-server) && export NATS_SERVER SOAK_SESSIONS=$(or $(SESSIONS),6000) && \
	$(CARGO) test --locked --test soak -- --nocapture && \
	$(CARGO) test --locked --test processes -- --nocapture soak::

fuzz: deps
	.cargo/fuzz $(SECONDS) $(TARGET)

bench: deps
	$(CARGO) bench --locked --bench figures

# What RocksDB needs to build beside Rust: a C++ compiler, and libclang with its own headers.
deps:
	@.cargo/system-packages
