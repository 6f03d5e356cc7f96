#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Copies the sources, as they are now, into a folder that is made: what git
# knows or would add, and without git everything but what was built.
set -euo pipefail
cd "$(dirname "$0")/.."
to="$1"
mkdir -p "$to"
to="$(realpath "$to")"
if [ -e .git ]; then
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        tar -c --null --files-from=- | tar -x -C "$to"
else
    tar -c --exclude=./target --exclude='./examples/*/target' . | tar -x -C "$to"
fi
