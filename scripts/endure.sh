#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the tests in tests/endurance, which make check runs for seconds, for a
# given number of rounds or seconds.
#
#   endure.sh soak ROUNDS
#   endure.sh load SECONDS
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case "${1:-}:${2:-}" in
    soak:[1-9]*) export RUSTTCTI_SOAK=$2 ;;
    load:[1-9]*) export RUSTTCTI_LOAD=$2 ;;
    *) usage ;;
esac
scripts/setup.sh check
work_in
stage_module
cargo test --locked --test endurance "$1::" -- --nocapture --test-threads=1
