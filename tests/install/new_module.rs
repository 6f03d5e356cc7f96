// SPDX-License-Identifier: BSD-2-Clause
//! `make new-module` makes a crate that builds and passes its own tests, and
//! that tpm2-tools load.

use std::path::Path;
use std::process::{Command, Output};

use rusttcti_kit::stage::{make, output};
use rusttcti_kit::swtpm::Swtpm;

/// `make new-module` with this name, into this folder.
fn new_module(name: &str, dir: &Path) -> Output {
    make("new-module")
        .arg(format!("NAME={name}"))
        .arg(format!("DIR={}", dir.display()))
        .output()
        .expect("make runs")
}

#[test]
fn a_new_module_builds_passes_its_tests_and_tpm2_tools_load_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("my-tpm");
    let made = new_module("my-tpm", &dir);
    assert!(made.status.success(), "{made:?}");
    // With the dependencies of examples/own-module, which tests/readme.rs builds.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-module");
    let cargo = |does: &str| {
        output(
            Command::new(env!("CARGO"))
                .args([does, "--quiet", "--target-dir"])
                .arg(&target)
                .current_dir(&dir),
        )
    };
    cargo("build");
    let tested = cargo("test");
    assert!(tested.contains("5 passed; 0 failed"), "{tested}");
    let library = target.join("debug/libmy_tpm.so");
    let dynamic = output(Command::new("readelf").arg("-dW").arg(&library));
    assert!(
        dynamic.contains("Library soname: [libtss2-tcti-my-tpm.so.0]"),
        "{dynamic}"
    );

    let link = folder.path().join("libtss2-tcti-my-tpm.so.0");
    std::os::unix::fs::symlink(&library, link).expect("a link");
    let get_random = |tcti: &str| {
        Command::new("tpm2_getrandom")
            .args(["--hex", "16", "-T", tcti])
            .env("LD_LIBRARY_PATH", folder.path())
            .env_remove("TSS2_LOG")
            .output()
            .expect("tpm2_getrandom runs")
    };
    let tpm = Swtpm::tcp();
    let random = get_random(&format!("my-tpm:localhost:{}", tpm.port()));
    assert!(random.status.success(), "{random:?}");
    assert_eq!(random.stdout.len(), 32, "{random:?}");

    let said = get_random("my-tpm");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.contains("my-tpm: needs HOST:PORT"), "{words}");
}

#[test]
fn a_name_that_cannot_be_and_a_folder_that_is_there_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, words) in [
        ("", "needs a name"),
        ("Foo", "\"Foo\" cannot be a module's name"),
        ("rusttcti", "this module's own name"),
        ("match", "keyword"),
    ] {
        let dir = folder.path().join("new");
        let made = new_module(name, &dir);
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(!made.status.success() && said.contains(words), "{said}");
        assert!(!dir.exists(), "{name}");
    }
    let made = new_module("foo", folder.path());
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        !made.status.success() && said.contains("is there already"),
        "{said}"
    );
}
