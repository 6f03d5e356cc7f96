#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What the module is built from: licences, sources, duplicates and known
# weaknesses of the crates (cargo-deny, by deny.toml), and whether the oldest
# versions that Cargo.toml allows still build.
set -euo pipefail
cd "$(dirname "$0")/.."

DENY_VERSION=0.18.3

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
deny="$(command -v cargo-deny || true)"
if [ -z "$deny" ]; then
    deny="$target/tools/bin/cargo-deny"
    if [ ! -x "$deny" ]; then
        echo "check-supply: building cargo-deny $DENY_VERSION, once (some minutes)"
        cargo install cargo-deny --version "$DENY_VERSION" --locked --debug --quiet \
            --root "$target/tools" --target-dir "$target/tools/build"
        rm -rf "$target/tools/build"
    fi
fi

# examples/own-module takes the versions of our own Cargo.lock.
"$deny" --locked check bans licenses sources
# fuzz/ has a Cargo.lock of its own, and is in nothing that is shipped.

if "$deny" --locked fetch db; then
    "$deny" --locked check --disable-fetch advisories
else
    echo "check-supply: advisories NOT LOOKED AT: their database could not be fetched"
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
git ls-files -z | tar c --null -T - | tar x -C "$scratch"
cd "$scratch"
rm -f Cargo.lock
# Unstable, but of cargo alone: the compiler is as stable as ever.
RUSTC_BOOTSTRAP=1 cargo -Z direct-minimal-versions generate-lockfile --quiet
cargo check --locked --quiet --all-targets --features capi --target-dir "$target/minimal"
echo "check-supply: builds with the oldest versions that Cargo.toml allows"
