#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes the first inputs of the fuzzer, the same each time: those of
# fuzz/src/seeds.rs, and all earlier findings.
#
#   fuzz-corpus.sh [FOLDER]   fuzz/corpus, or FOLDER, gets a folder a target
#
# Prints each target's name and how long its inputs get at most.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

plain="$(target_folder fuzz-plain)"
folder="$(realpath -m "${1:-fuzz/corpus}")"
mkdir -p "$folder"
# There, for the flags in fuzz/.cargo.
cd fuzz
cargo run --locked --quiet --no-default-features --example seeds \
    --target-dir "$plain" -- "$folder"
for findings in regressions/*/; do
    target="$(basename "$findings")"
    for finding in "$findings"*; do
        [ -f "$finding" ] || continue
        cp "$finding" "$folder/$target/"
    done
done
