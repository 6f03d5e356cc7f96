#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Prints where packages of Debian 12 (bookworm) come from: $DEBIAN_MIRROR, else
# what this system's apt has.
set -euo pipefail

# shellcheck disable=SC2016 # apt's own
mirror="${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Codename: bookworm' | head -n 1)}"
if [ -z "$mirror" ]; then
    echo "apt has no list of Debian 12 (bookworm): DEBIAN_MIRROR=URL names a mirror of it" >&2
    exit 1
fi
echo "$mirror"
