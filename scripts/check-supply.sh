#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Checks the crates that the module is built from: licences, sources, duplicates
# and known weaknesses (cargo-deny, by deny.toml), and whether the oldest
# versions that Cargo.toml allows still build.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DENY_VERSION=0.18.3

tools="$(target_folder tools)"
minimal="$(target_folder minimal)"
deny="$(command -v cargo-deny || true)"
if [ -z "$deny" ]; then
    deny="$tools/bin/cargo-deny"
    if [ ! -x "$deny" ]; then
        echo "check-supply: building cargo-deny $DENY_VERSION, once (some minutes)"
        cargo install cargo-deny --version "$DENY_VERSION" --locked --debug --quiet \
            --root "$tools" --target-dir "$tools/build"
        rm -rf "$tools/build"
    fi
fi

# examples/own-module takes the versions of our own Cargo.lock.
"$deny" --locked check bans licenses sources
# fuzz/ has a separate Cargo.lock, and is not shipped.

if "$deny" --locked fetch db; then
    "$deny" --locked check --disable-fetch advisories
else
    echo "check-supply: advisories NOT LOOKED AT: their database could not be fetched"
fi

work_in
copy_tree "$work"
cd "$work"
rm -f Cargo.lock
# Unstable, but of cargo alone: the compiler is as stable as ever.
RUSTC_BOOTSTRAP=1 cargo -Z direct-minimal-versions generate-lockfile --quiet
cargo check --locked --quiet --workspace --all-targets --target-dir "$minimal"
echo "check-supply: builds with the oldest versions that Cargo.toml allows"
