# sipleak. `make demo` and `make test` do their own set-up.

SWIFT ?= swift
PREFIX ?= /usr/local
# What `make fuzz` fuzzes (rules, sets, flows, tables or sip), and for how long.
TARGET ?= rules
SECONDS ?= 60
DESTDIR ?=

# What the programs and the tests need on Debian. Swift itself comes from swift.org.
PACKAGES = iptables ipset nftables conntrack iproute2 util-linux mount procps \
  libmnl-dev libnetfilter-conntrack-dev libsqlite3-dev pkg-config ca-certificates git \
  sipvicious sip-tester tshark dnsmasq-base

.PHONY: all setup build demo test bench bench-blocks bench-events lint fuzz kernel-fuzz man release install clean

all: build

# Installs only what is missing and says nothing when nothing is.
setup:
	@Scripts/setup $(PACKAGES)

build: setup
	$(SWIFT) build

# The debug build: the demo waits for packets, not for code, and this builds in half the time.
demo: setup
	@$(SWIFT) build --product sipleak
	@"$$($(SWIFT) build --show-bin-path)/sipleak" demo

test: setup
	$(SWIFT) test $(SWIFT_TEST_FLAGS)

# Random firewalls against the kernel for as long as asked: make kernel-fuzz SECONDS=600 SEED=7
SECONDS ?= 60
SEED ?= $(shell date +%s)

kernel-fuzz: setup
	SIPLEAK_KERNEL_FUZZ_SECONDS=$(SECONDS) SIPLEAK_KERNEL_FUZZ_SEED=$(SEED) \
	  $(SWIFT) test --filter KernelTests.Kernel/RulesetWalk/ $(SWIFT_TEST_FLAGS)

# What sipleak takes beside its peers, in private namespaces: make bench ENTRIES=1000000 ROUNDS=5
ENTRIES ?= 1000000
ROUNDS ?= 5

bench: setup
	@for product in sipleak-floor sipleak-bench sipleak; do \
	  $(SWIFT) build -c release --static-swift-stdlib --product $$product || exit 1; \
	done
	@"$$($(SWIFT) build -c release --static-swift-stdlib --show-bin-path)/sipleak-bench" \
	  --entries $(ENTRIES) --rounds $(ROUNDS)

# Thousands of blocks beside iptables -I for each, and packets beside them: make bench-blocks BLOCKS="--rounds 3"
bench-blocks: setup
	@for product in sipleak-floor sipleak-bench sipleak; do \
	  $(SWIFT) build -c release --static-swift-stdlib --product $$product || exit 1; \
	done
	@"$$($(SWIFT) build -c release --static-swift-stdlib --show-bin-path)/sipleak-bench" blocks $(BLOCKS)

# sipleak watch beside conntrack -E: make bench-events EVENTS="--seconds 10 --load flood"
bench-events: setup
	$(SWIFT) build -c release --product sipleak
	$(SWIFT) build -c release --product sipleak-bench-events
	@"$$($(SWIFT) build -c release --show-bin-path)/sipleak-bench-events" $(EVENTS)

lint:
	$(SWIFT) format lint --strict -r Sources Tests Benchmarks Package.swift Fuzz/Sources Fuzz/Package.swift

fuzz: setup
	@SWIFT="$(SWIFT)" Fuzz/run $(TARGET) $(SECONDS)

# The man pages come from the program's own --help. Run it after a change of a verb or option.
man:
	$(SWIFT) package --allow-writing-to-package-directory generate-manual --section 8 \
	  --output-directory Docs

# Two parts, so that `sudo make install` needs no Swift: build first, copy then.
release: setup
	$(SWIFT) build -c release --static-swift-stdlib --product sipleak

install:
	@test -x .build/release/sipleak || $(MAKE) release
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 -s .build/release/sipleak "$(DESTDIR)$(PREFIX)/bin/sipleak"
	install -d -m 700 "$(DESTDIR)/var/lib/sipleak"
	@if test -f Docs/sipleak.8; then \
	  install -d "$(DESTDIR)$(PREFIX)/share/man/man8" && \
	  install -m 644 Docs/sipleak.8 "$(DESTDIR)$(PREFIX)/share/man/man8/sipleak.8"; \
	fi

clean:
	$(SWIFT) package clean
