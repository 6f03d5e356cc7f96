#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes the inputs that the fuzzer starts from, the same each time: those of
# fuzz/src/seeds.rs and all that were findings once.
#
#   fuzz-corpus.sh [FOLDER]   fuzz/corpus, or FOLDER, gets a folder a target
#
# Prints each target's name and how long its inputs get at most.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
folder="$(realpath -m "${1:-fuzz/corpus}")"
mkdir -p "$folder"
# There, for the flags in fuzz/.cargo.
cd fuzz
cargo run --locked --quiet --no-default-features --example seeds \
    --target-dir "${CARGO_TARGET_DIR:-$root/target}/fuzz-plain" -- "$folder"
for findings in regressions/*/; do
    target="$(basename "$findings")"
    for finding in "$findings"*; do
        [ -f "$finding" ] || continue
        cp "$finding" "$folder/$target/"
    done
done
