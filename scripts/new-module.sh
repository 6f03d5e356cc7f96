#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes a crate for a new transport, from examples/own-module, or for a new
# layer, from examples/own-layer: `new-module.sh NAME [DIR [GIT [KIND]]]`. DIR
# is ../NAME by default. The crate depends on this clone, or on the git
# repository GIT. KIND is transport (the default) or layer. Its tests include
# the checks of the conformance kit.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

name="${1:-}"
dir="${2:-../$name}"
git="${3:-}"
kind="${4:-transport}"

[ -n "$name" ] || fail "needs a name, as in: make new-module NAME=foo"
[[ "$name" =~ ^[a-z][a-z0-9_-]*$ ]] ||
    fail "\"$name\" cannot be a module's name (a-z, then a-z, 0-9, - and _)"
[ "$name" != rusttcti ] || fail "\"rusttcti\" is this module's own name"
[ ! -e "$dir" ] || fail "$dir is there already (another folder: DIR=...)"

# foo-bar: type FooBarTcti or FooBarLayer, library libfoo_bar.so.
camel="$(sed -E 's/(^|[-_]+)([a-z0-9])/\u\2/g; s/[-_]+$//' <<<"$name")"
library="lib${name//-/_}.so"

case "$kind" in
transport)
    example=own-module from=Bridge type="${camel}Tcti"
    what="transport (TCTI)" does="talks to a TPM behind a TCP connection"
    conf=HOST:PORT
    ;;
layer)
    example=own-layer from=Redo type="${camel}Layer"
    what="layer" does="sends a command anew when the TPM asks for it, on its way to what is below"
    conf=libtpms
    ;;
*) fail "\"$kind\" is not a KIND (it is transport or layer)" ;;
esac

if [ -n "$git" ]; then
    library_from="git = '$git'" kit_from="git = '$git'"
else
    library_from="path = '$PWD/crates/rusttcti'" kit_from="path = '$PWD/crates/rusttcti-kit'"
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

END
sed -n '/^\[dependencies\]/,$p' "examples/$example/Cargo.toml" |
    sed -e "s|^rusttcti = .*|rusttcti = { $library_from }|" \
        -e "s|^rusttcti-kit = .*|rusttcti-kit = { $kit_from }|" >>"$dir/Cargo.toml"
# The versions that rusttcti is tested with.
cp Cargo.lock "$dir/Cargo.lock"

cat >"$dir/build.rs" <<END
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-$name.so.0");
}
END

for file in "examples/$example"/src/*.rs; do
    sed -e '/^\/\/ SPDX/d' -e "s/Tss2_Tcti_${from}_Init/Tss2_Tcti_${camel}_Init/" \
        -e "s/\b$from\b/$type/g" -e "s/\b${from,}\b/$name/g" \
        "$file" >"$dir/src/${file##*/}"
done
# A longer name may want another line break.
cargo fmt --manifest-path "$dir/Cargo.toml" 2>/dev/null || true

cat >"$dir/README.md" <<END
# $name

A TPM $what in Rust, on the crate rusttcti.
It is built with Rust 1.85 or newer, pkg-config and tpm2-tss's headers; its tests use libtpms (Debian: \`pkg-config libtss2-dev libtpms0\`).

\`\`\`sh
cargo test                # includes every check of the conformance kit
cargo build --release
tpm2_getrandom -T ./target/release/$library:$conf --hex 16
\`\`\`

Installed, it is \`-T $name:$conf\`:

\`\`\`sh
sudo install -m 644 target/release/$library /usr/local/lib/libtss2-tcti-$name.so.0
sudo ldconfig
\`\`\`
END
if [ "$kind" = layer ]; then
    cat >>"$dir/README.md" <<END

What is behind the colon is the rest of the chain, in the syntax of rusttcti: any of its layers and transports.
Options stand before it, in a chain of rusttcti's as those of its own layers do:

\`\`\`sh
tpm2_getrandom -T rusttcti:$name,times=7,wait=5:libtpms --hex 16
tpm2_getrandom -T $name:,times=7,wait=5:libtpms --hex 16           # the same, by its own name
\`\`\`
END
    if grep -q "\"$name\"" crates/rusttcti/src/chain/lists.rs; then
        cat >>"$dir/README.md" <<END

rusttcti has a layer \`$name\` of its own, which comes first in its chains: there, this one needs another name.
END
    fi
fi
echo /target/ >"$dir/.gitignore"

echo "$dir is a crate that $does: change the files in src. Then:"
echo "  cd $dir && cargo test && cargo build --release"
echo "  tpm2_getrandom -T ./target/release/$library:$conf --hex 16"
