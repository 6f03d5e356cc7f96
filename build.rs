// SPDX-License-Identifier: BSD-2-Clause
//! Sets the module's soname (cargo-c sets the same one itself), and links the unwinder
//! into the module. A program that loads the module then does not load libgcc_s.so.1,
//! which would take a fifth of the loading time.

use std::path::Path;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-rusttcti.so.0");

    // The standard library asks the linker for -lgcc_s. This script, found first,
    // answers with the static archives of the same compiler.
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let script = "/* GNU ld script */\nINPUT(-lgcc_eh -lgcc)\n";
    std::fs::write(Path::new(&out).join("libgcc_s.so"), script)?;
    println!("cargo:rustc-link-search=native={out}");
    Ok(())
}
