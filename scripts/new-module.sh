#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes a crate for a transport of one's own, after examples/own-module:
# `new-module.sh NAME [DIR [GIT]]`. DIR is ../NAME where it is not given; the
# crate depends on this clone, or on the git repository GIT.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

name="${1:-}"
dir="${2:-../$name}"
git="${3:-}"

[ -n "$name" ] || fail "needs a name, as in: make new-module NAME=foo"
[[ "$name" =~ ^[a-z][a-z0-9_-]*$ ]] ||
    fail "\"$name\" cannot be a module's name (a-z, then a-z, 0-9, - and _)"
[ "$name" != rusttcti ] || fail "\"rusttcti\" is this module's own name"
[ ! -e "$dir" ] || fail "$dir is there already (another folder: DIR=...)"

# foo-bar: type FooBarTcti, library libfoo_bar.so.
camel="$(sed -E 's/(^|[-_]+)([a-z0-9])/\u\2/g; s/[-_]+$//' <<<"$name")"
library="lib${name//-/_}.so"
if [ -n "$git" ]; then
    dependency="git = '$git'"
else
    dependency="path = '$PWD/crates/rusttcti'"
fi

# cargo knows which names a crate cannot have.
cargo new --quiet --lib --vcs none --name "$name" "$dir"

cat >"$dir/Cargo.toml" <<END
[package]
name = "$name"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
rusttcti = { $dependency }
END
# The versions that rusttcti is tested with.
cp Cargo.lock "$dir/Cargo.lock"

cat >"$dir/build.rs" <<END
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-$name.so.0");
}
END

for file in lib.rs tests.rs; do
    sed -e '/^\/\/ SPDX/d' -e "s/Tss2_Tcti_Bridge_Init/Tss2_Tcti_${camel}_Init/" \
        -e "s/\bBridge\b/${camel}Tcti/g" -e "s/\bbridge\b/$name/g" \
        "examples/own-module/src/$file" >"$dir/src/$file"
done

cat >"$dir/README.md" <<END
# $name

A TPM transport (TCTI) in Rust, on the crate rusttcti.
It is built with Rust 1.85 or newer, pkg-config and tpm2-tss's headers; its tests use libtpms (Debian: \`pkg-config libtss2-dev libtpms0\`).

\`\`\`sh
cargo test
cargo build --release
tpm2_getrandom -T ./target/release/$library:HOST:PORT --hex 16
\`\`\`

Installed, it is \`-T $name:HOST:PORT\`:

\`\`\`sh
sudo install -m 644 target/release/$library /usr/local/lib/libtss2-tcti-$name.so.0
sudo ldconfig
\`\`\`
END
echo /target/ >"$dir/.gitignore"

echo "$dir is a crate that talks to a TPM behind a TCP connection: change src/lib.rs and src/tests.rs. Then:"
echo "  cd $dir && cargo test && cargo build --release"
echo "  tpm2_getrandom -T ./target/release/$library:HOST:PORT --hex 16"
