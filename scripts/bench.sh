#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Measures what the README claims, and prints it as a table in Markdown:
# `bench.sh` for all of it, `bench.sh swtpm` for the rows with that in their name.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh bench >&2
exec cargo bench --locked --quiet --bench bench -- "$@"
