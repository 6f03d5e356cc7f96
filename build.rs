// SPDX-License-Identifier: BSD-2-Clause
//! Gives the module its soname. cargo-c sets the same one itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-rusttcti.so.0");
}
