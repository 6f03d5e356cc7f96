#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the source package of `make dist` as a distribution does: in a new,
# minimal Debian 12, with the packages of its Build-Depends (Rust included),
# without network, not as root. The built packages install and work. Without the
# security team's updates this Rust is 1.85.0, the oldest supported.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

need_root "a new Debian is made and entered"
mirror="$(debian_mirror)"
scripts/setup.sh deb
work_in
chmod 755 "$work"
scripts/dist.sh "$work/dist" >/dev/null
cp -r debian/tests "$work/tests"
cp scripts/check-deb-inside.sh "$work/tests/"
cat >"$work/dist/build" <<'END'
set -eu
cd /srv/dist
apt-get -q install -y --no-install-recommends dpkg-dev fakeroot >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
apt-get -q build-dep -y --no-install-recommends ./*.dsc >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
chown -R nobody .
# unshare -n: not even a loopback. A HOME that is not there, as on a builder.
HOME=/nonexistent unshare -n setpriv --reuid=nobody --regid=nogroup --clear-groups sh -euc '
    dpkg-source -x ./*.dsc tree
    cd tree
    dpkg-buildpackage -us -uc -b' >/tmp/log 2>&1 </dev/null || { cat /tmp/log; exit 1; }
rustc --version
dpkg-deb -f libtss2-tcti-rusttcti0_*.deb Static-Built-Using
cp libtss2-tcti-rusttcti0_*.deb libtss2-tcti-rusttcti-dev_*.deb /srv/tests/
END
chmod -R go+rX "$work/dist" "$work/tests"
mmdebstrap --quiet --variant=apt --format=null \
    --customize-hook="copy-in '$work/dist' '$work/tests' /srv" \
    --customize-hook='chroot "$1" sh /srv/dist/build' \
    --customize-hook='chroot "$1" sh /srv/tests/check-deb-inside.sh' \
    bookworm /dev/null "$mirror" </dev/null
echo "check-dist: the source package builds in Debian 12, offline, and its packages work"
