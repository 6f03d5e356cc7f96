#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What make check does for seconds, for as long as is said: `endure.sh soak
# ROUNDS` (tests/soak.rs) or `endure.sh load SECONDS` (tests/load.rs).
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}:${2:-}" in
    soak:[1-9]*) export RUSTTCTI_SOAK=$2 ;;
    load:[1-9]*) export RUSTTCTI_LOAD=$2 ;;
    *)
        echo "usage: $0 soak ROUNDS | load SECONDS" >&2
        exit 2
        ;;
esac
scripts/setup.sh check
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
make --no-print-directory -s install DESTDIR="$stage" PREFIX=/usr LIBDIR=/usr/lib
export RUSTTCTI_MODULE_DIR="$stage/usr/lib"
cargo test --locked --test "$1" -- --nocapture --test-threads=1
