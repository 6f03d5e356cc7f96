// SPDX-License-Identifier: BSD-2-Clause
//! The committed C header is the one that cbindgen makes from src/lib.rs.

use std::path::{Path, PathBuf};

const HEADER: &str = "include/tss2/tss2_tcti_rusttcti.h";

/// The file of the C functions with each line of `inits!` as the function that
/// the macro makes of it, which cbindgen cannot see.
fn written_out(root: &Path, folder: &Path) -> PathBuf {
    let source = std::fs::read_to_string(root.join("src/lib.rs")).expect("src/lib.rs");
    let (before, rest) = source.split_once("\ninits! {\n").expect("the macro's call");
    let (lines, after) = rest.split_once("\n}\n").expect("its end");
    let mut functions = String::new();
    for line in lines.lines().map(str::trim) {
        match line.split_once(" => ") {
            Some((name, _transport)) => {
                functions += &format!(
                    "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn {name}(\n\
                     tcti_context: *mut TSS2_TCTI_CONTEXT, size: *mut size_t, \
                     conf: *const c_char) -> TSS2_RC {{ 0 }}\n"
                );
            }
            None => functions += &format!("{line}\n"),
        }
    }
    let file = folder.join("lib.rs");
    std::fs::write(&file, format!("{before}\n{functions}{after}")).expect("written");
    file
}

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(written_out(root, folder.path()))
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
