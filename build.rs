// SPDX-License-Identifier: BSD-2-Clause
//! Gives the C module its soname. cargo-c sets the same one itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CAPI").is_some() {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-rusttcti.so.0");
    }
}
