# SPDX-License-Identifier: BSD-2-Clause
# `make help` lists what there is to make.

VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MULTIARCH := $(shell $(or $(CC),cc) -print-multiarch 2>/dev/null)

PREFIX       ?= /usr/local
LIBDIR       ?= $(PREFIX)/lib$(if $(MULTIARCH),/$(MULTIARCH))
INCLUDEDIR   ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
MANDIR       ?= $(PREFIX)/share/man
DESTDIR      ?=

INSTALL ?= install
CARGO   ?= cargo

# As Debian's tpm2-tss has it: NAME.so.0.MINOR.PATCH, with links .so.0 and .so.
LIBRARY := libtss2-tcti-rusttcti
SONAME  := $(LIBRARY).so.0
REAL    := $(LIBRARY).so.0.$(shell echo $(VERSION) | cut -d . -f 2,3)

TARGET  := $(or $(CARGO_TARGET_DIR),target)
BUILT   := $(TARGET)/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release/libtss2_tcti_rusttcti.so
# What is installed. An install from elsewhere may name another file.
MODULE  ?= $(BUILT)
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src crates -type f)

PAGES3 := $(wildcard man/*.3)
PAGES7 := $(wildcard man/*.7)

# The same bytes wherever the sources lie.
CRATES := $(or $(CARGO_HOME),$(HOME)/.cargo)
REMAP := --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CRATES)=cargo \
         $(addprefix --remap-path-prefix=,$(addsuffix =cargo/registry,$(realpath $(CRATES)/registry)))

# A source package brings its crates (make dist): nothing is downloaded then.
VENDORED := $(if $(wildcard vendor/config.toml),--offline --config vendor/config.toml)

.PHONY: all build demo check bench soak load fuzz install uninstall header man setup new-module
.PHONY: deb dist sbom clean help
.PHONY: check-apps check-arch check-asan check-cinstall check-deb check-dist check-reproducible
.PHONY: conformance check-rpm check-suites check-supply check-tsan check-tss check-vm

all: build

build: $(MODULE) ## build the module (the default)

$(BUILT): $(SOURCES)
	RUSTFLAGS="$(strip $(RUSTFLAGS) $(REMAP))" $(CARGO) build --release --locked $(VENDORED)
	@touch -c $@

demo: ## install what is missing, build, and tour an embedded TPM with tpm2-tools
	@scripts/demo.sh

check: ## install what is missing and run every test
	@scripts/check.sh

soak: ## open, use and close every transport N=100000 times, and check that nothing is left behind
	@scripts/endure.sh soak "$(or $(N),100000)"

load: ## use shared TPMs from eight threads and from many processes, S=60 seconds each
	@scripts/endure.sh load "$(or $(S),60)"

bench: ## measure the figures of the README
	@scripts/bench.sh

install: $(MODULE) ## install under PREFIX (/usr/local), LIBDIR, MANDIR; honours DESTDIR
	@nm -D --defined-only "$(MODULE)" | grep -q ' Tss2_Tcti_Info$$' || { \
	    echo 'make install: $(MODULE) exports no Tss2_Tcti_Info, so that no program could load it' >&2; \
	    echo '(make build builds the module)' >&2; exit 1; }
	$(INSTALL) -d "$(DESTDIR)$(LIBDIR)" "$(DESTDIR)$(INCLUDEDIR)/tss2" "$(DESTDIR)$(PKGCONFIGDIR)"
	$(INSTALL) -m 644 "$(MODULE)" "$(DESTDIR)$(LIBDIR)/$(REAL)"
	ln -sf $(REAL) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/$(LIBRARY).so"
	$(INSTALL) -m 644 include/tss2/tss2_tcti_rusttcti.h "$(DESTDIR)$(INCLUDEDIR)/tss2/"
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    pkgconfig/tss2-tcti-rusttcti.pc.in > "$(DESTDIR)$(PKGCONFIGDIR)/tss2-tcti-rusttcti.pc"
	chmod 644 "$(DESTDIR)$(PKGCONFIGDIR)/tss2-tcti-rusttcti.pc"
	$(INSTALL) -d "$(DESTDIR)$(MANDIR)/man3" "$(DESTDIR)$(MANDIR)/man7"
	$(INSTALL) -m 644 $(PAGES3) "$(DESTDIR)$(MANDIR)/man3/"
	$(INSTALL) -m 644 $(PAGES7) "$(DESTDIR)$(MANDIR)/man7/"
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi

uninstall: ## remove the installed files
	rm -f "$(DESTDIR)$(LIBDIR)/$(REAL)" "$(DESTDIR)$(LIBDIR)/$(SONAME)" "$(DESTDIR)$(LIBDIR)/$(LIBRARY).so" \
	      "$(DESTDIR)$(INCLUDEDIR)/tss2/tss2_tcti_rusttcti.h" \
	      "$(DESTDIR)$(PKGCONFIGDIR)/tss2-tcti-rusttcti.pc" \
	      $(patsubst man/%,"$(DESTDIR)$(MANDIR)/man3/%",$(PAGES3)) \
	      $(patsubst man/%,"$(DESTDIR)$(MANDIR)/man7/%",$(PAGES7))
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi

new-module: ## make a crate for a new transport or layer: NAME=foo [KIND=layer] [DIR=../foo] [GIT=URL]
	@scripts/new-module.sh "$(NAME)" "$(DIR)" "$(GIT)" "$(KIND)"

header: ## regenerate the C header from src/lib.rs
	RUSTTCTI_UPDATE_HEADER=1 $(CARGO) test --locked --test install header::

man: ## regenerate the version and the options in the manual pages from the sources
	RUSTTCTI_UPDATE_MAN=1 $(CARGO) test --locked --package rusttcti --lib --features wrap manual

setup: ## install the Debian packages that `make check` needs
	@scripts/setup.sh check

deb: ## build the Debian packages in target/deb, and check them with lintian
	@scripts/setup.sh deb
	@scripts/deb.sh

dist: ## make the source package in target/dist, with all crates
	@scripts/setup.sh deb
	@scripts/dist.sh

sbom: ## print the module's bill of materials (CycloneDX)
	@scripts/sbom.py $(VENDORED)

check-deb: ## install the packages in a clean Debian 12, use them, and remove them
	@scripts/check-deb.sh

check-rpm: ## build the RPM packages, and compare them with `make install`
	@scripts/check-rpm.sh

check-dist: ## build the source package in a clean Debian 12, offline
	@scripts/check-dist.sh

check-reproducible: ## build the packages twice under different conditions, and compare the bytes
	@scripts/check-reproducible.sh

check-vm: ## run the device transport in a guest kernel
	@scripts/check-vm.sh

check-apps: ## run real programs over the module (WORDS="clevis fapi": only these)
	@scripts/check-apps.sh $(WORDS)

check-tss: ## run tpm2-tss's own integration programs over this module
	@scripts/check-tss.sh

check-suites: ## run the test suites of tpm2-pytss, tss-esapi, tpm2-pkcs11 and tpm2-openssl (SUITES="pytss": only this)
	@scripts/check-suites.sh $(SUITES)

check-asan: ## run the tests of unsafe code and of parsers under the address sanitizer
	@scripts/check-asan.sh

check-tsan: ## run the tests with threads under the thread sanitizer
	@scripts/check-tsan.sh

check-arch: ## build with Rust 1.85, for 32-bit x86 and aarch64 too, and run tests there
	@scripts/check-arch.sh

check-supply: ## check the licences, sources and oldest versions of the crates (cargo-deny)
	@scripts/check-supply.sh

fuzz: ## fuzz each target for S=60 seconds (TARGETS="chain": only this)
	@scripts/setup.sh check && scripts/fuzz.sh "$(or $(S),60)" $(TARGETS)

conformance: ## run the kit's checks over Debian's TCTI modules and ours, and update docs/conformance.md
	@scripts/conformance.sh

check-cinstall: ## compare `cargo cinstall` (cargo-c) with `make install`
	@scripts/check-cinstall.sh

clean: ## remove the built files
	$(CARGO) clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' $(firstword $(MAKEFILE_LIST)) | \
	while IFS=@ read -r target text; do printf '  make %-18s %s\n' "$$target" "$$text"; done
