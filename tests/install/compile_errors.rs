// SPDX-License-Identifier: BSD-2-Clause
//! The compiler's messages for mistakes of an author of transports.

use std::fs;
use std::path::Path;

use rusttcti_kit::module;

/// A transport crate with nothing wrong in it, before `with` is added.
const TRANSPORT: &str = r#"
use std::{ffi::CStr, time::Duration};
use rusttcti::{Magic, Module, Result, Tcti};

pub struct Mine;

impl Tcti for Mine {
    fn transmit(&mut self, _: &[u8]) -> Result<()> { Ok(()) }
    fn receive(&mut self, _: &mut [u8], _: Option<Duration>) -> Result<usize> { Ok(0) }
}

impl Module for Mine {
    const NAME: &'static CStr = c"mine";
    const DESCRIPTION: &'static CStr = c"";
    const CONFIG_HELP: &'static CStr = c"";
    const MAGIC: Magic = Magic::new(MAGIC);
    const MAX_SIZE: usize = MAX_SIZE;
    fn init(_: Option<&str>) -> Result<Self> { Ok(Mine) }
}
"#;

/// Returns the messages of `cargo build` for the transport crate with this
/// addition; `None` if it builds. The crate depends on rusttcti alone.
fn build(name: &str, with: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");
    fs::write(
        folder.path().join("src/lib.rs"),
        format!("{TRANSPORT}{with}"),
    )
    .expect("written");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nrusttcti = {{ path = {:?} }}\n[workspace]\n",
        root.join("crates/rusttcti").display().to_string()
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("written");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-errors");
    let output = module::cargo(&["build", "--offline", "--quiet"], &target)
        .current_dir(folder.path())
        .output()
        .expect("cargo runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

const EXPORT: &str = "rusttcti::export!(Mine, Tss2_Tcti_Mine_Init);\n";

#[test]
fn the_compiler_says_what_is_missing() {
    let good = "const MAGIC: &[u8] = b\"8 BYTES!\";\nconst MAX_SIZE: usize = 10;\n";
    assert_eq!(build("good", &format!("{good}{EXPORT}")), None);

    let small = good.replace("= 10;", "= 9;");
    let told = build("small", &format!("{small}{EXPORT}")).expect("an error");
    assert!(
        told.contains("MAX_SIZE is less than the 10 bytes"),
        "{told}"
    );

    let long = good.replace("8 BYTES!", "9 BYTES!!");
    let told = build("long", &format!("{long}{EXPORT}")).expect("an error");
    assert!(
        told.contains("a TCTI's magic has at most 8 bytes"),
        "{told}"
    );

    let no_module = "struct Other;\nrusttcti::export!(Other, Tss2_Tcti_Other_Init);\n";
    let told = build("no-module", &format!("{good}{no_module}")).expect("an error");
    assert!(told.contains("Other: Module` is not satisfied"), "{told}");

    let twice = "rusttcti::export!(Mine, Tss2_Tcti_Again_Init);\n";
    let told = build("twice", &format!("{good}{EXPORT}{twice}")).expect("an error");
    assert!(
        told.contains("`Tss2_Tcti_Info` is defined multiple times"),
        "{told}"
    );

    let half = "struct Half;\nimpl Tcti for Half {\n    \
                fn transmit(&mut self, _: &[u8]) -> Result<()> { Ok(()) }\n}\n";
    let told = build("half", &format!("{good}{half}")).expect("an error");
    assert!(told.contains("missing: `receive`"), "{told}");

    let early = |what: &str| {
        let early = format!(
            "pub fn early(mine: Mine) -> Result<()> {{\n    let context = \
             rusttcti::Context::new(mine);\n    let esys = context.esys()?;\n    \
             {what};\n    esys.as_ptr();\n    Ok(())\n}}\n"
        );
        build("early", &format!("{good}{early}"))
    };
    assert_eq!(early(""), None);
    for what in ["drop(context)", "context.into_inner()"] {
        let told = early(what).expect("an error");
        assert!(told.contains("E0505"), "{told}");
        assert!(
            told.contains("cannot move out of `context` because it is borrowed"),
            "{told}"
        );
    }
}
