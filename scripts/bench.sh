#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Measures the figures of the README, and prints them as a table in Markdown:
# `bench.sh` prints all rows, `bench.sh swtpm` those with that word in their
# name.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh bench >&2
exec cargo bench --locked --quiet --bench bench -- "$@"
