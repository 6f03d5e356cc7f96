// SPDX-License-Identifier: BSD-2-Clause
//! The C header that is checked in is the one that src/lib.rs says.

use std::path::Path;

const HEADER: &str = "include/tss2/tss2_tcti_rusttcti.h";

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/lib.rs"))
        .generate()
        .expect("src/lib.rs has a C interface");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("text")
}

#[test]
fn the_header_is_what_the_source_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(HEADER);
    let wanted = generated();
    if std::env::var_os("RUSTTCTI_UPDATE_HEADER").is_some() {
        std::fs::write(&file, &wanted).expect("the header can be written");
    }
    let checked_in = std::fs::read_to_string(&file).expect("the header is there");
    assert!(
        checked_in == wanted,
        "{HEADER} differs from src/lib.rs: run `make header` and commit it; it should be\n{wanted}"
    );
}
