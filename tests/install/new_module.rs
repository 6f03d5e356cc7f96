// SPDX-License-Identifier: BSD-2-Clause
//! `make new-module` makes a crate that builds and passes its own tests, including
//! those of the conformance kit. tpm2-tools can load its module.

use std::path::Path;
use std::process::{Command, Output};

use rusttcti_kit::module;
use rusttcti_kit::stage::{make, output};
use rusttcti_kit::swtpm::Swtpm;

/// Runs `make new-module` with this name, into this folder.
fn new_module(name: &str, dir: &Path, more: &[&str]) -> Output {
    make("new-module")
        .arg(format!("NAME={name}"))
        .arg(format!("DIR={}", dir.display()))
        .args(more)
        .output()
        .expect("make runs")
}

/// A crate that `make new-module` made, built and tested.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    /// Makes one whose tests are so many, the conformance kit's included.
    fn new(name: &str, more: &[&str], tests: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join(name);
        let made = new_module(name, &dir, more);
        assert!(made.status.success(), "{made:?}");
        // With the dependencies of examples/own-module, which tests/docs builds.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates");
        let cargo = |does: &[&str]| output(module::cargo(does, &target).current_dir(&dir));
        cargo(&["build", "--quiet"]);
        let tested = cargo(&["test"]);
        assert!(
            tested.contains(&format!("{tests} passed; 0 failed")),
            "{tested}"
        );
        assert!(
            tested.contains("test tests::conformance ... ok"),
            "{tested}"
        );
        let formatted = Command::new(env!("CARGO"))
            .args(["fmt", "--check"])
            .current_dir(&dir)
            .output();
        assert!(formatted.expect("cargo runs").status.success());

        let library = format!("debug/lib{}.so", name.replace('-', "_"));
        let library = target.join(library);
        let soname = format!("libtss2-tcti-{name}.so.0");
        let dynamic = output(Command::new("readelf").arg("-dW").arg(&library));
        assert!(
            dynamic.contains(&format!("Library soname: [{soname}]")),
            "{dynamic}"
        );
        std::os::unix::fs::symlink(&library, folder.path().join(soname)).expect("a link");
        Self { folder }
    }

    /// Runs tpm2_getrandom, which finds the crate's module by its name.
    fn get_random(&self, tcti: &str) -> Output {
        Command::new("tpm2_getrandom")
            .args(["--hex", "16", "-T", tcti])
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env_remove("TSS2_LOG")
            .output()
            .expect("tpm2_getrandom runs")
    }

    fn gives_random_bytes(&self, tcti: &str) {
        let random = self.get_random(tcti);
        assert!(random.status.success(), "{tcti}: {random:?}");
        assert_eq!(random.stdout.len(), 32, "{tcti}: {random:?}");
    }

    fn is_refused(&self, tcti: &str, words: &str) {
        let said = self.get_random(tcti);
        let said = String::from_utf8_lossy(&said.stderr);
        assert!(said.contains(words), "{tcti}: {said}");
    }
}

#[test]
fn a_new_module_builds_passes_its_tests_and_tpm2_tools_load_it() {
    let made = Made::new("my-tpm", &[], 7);
    let tpm = Swtpm::tcp();
    made.gives_random_bytes(&format!("my-tpm:localhost:{}", tpm.port()));
    made.is_refused("my-tpm", "my-tpm: needs HOST:PORT");
}

#[test]
fn a_new_layer_builds_passes_its_tests_and_takes_options_and_the_rest_of_the_chain() {
    let made = Made::new("my-layer", &["KIND=layer"], 9);
    made.gives_random_bytes("my-layer:libtpms");
    made.gives_random_bytes("my-layer:,times=3,wait=1:libtpms");
    made.is_refused(
        "my-layer:,tims=3:libtpms",
        "my-layer: the layer my-layer has no option \"tims\"",
    );

    // In a chain of the module's, as one of its own layers.
    let module = rusttcti_kit::module::file();
    let link = made.folder.path().join("libtss2-tcti-rusttcti.so.0");
    std::os::unix::fs::symlink(module, link).expect("a link");
    let tpm = Swtpm::tcp();
    made.gives_random_bytes(&format!("rusttcti:my-layer,times=3:swtpm:{}", tpm.conf()));
    made.gives_random_bytes("rusttcti:my-layer:libtpms");
    made.is_refused(
        "rusttcti:my-layer,wait=soon:libtpms",
        "wait=\"soon\" is not allowed",
    );
}

#[test]
fn retry_is_a_name_for_a_layer_and_a_kind_that_there_is_not_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("retry");
    let made = new_module("retry", &dir, &["KIND=layer"]);
    assert!(made.status.success(), "{made:?}");
    let source = std::fs::read_to_string(dir.join("src/lib.rs")).expect("its source");
    assert!(source.contains("rusttcti::export!(RetryLayer, Tss2_Tcti_Retry_Init);"));
    for left in ["redo", "Redo"] {
        assert!(!source.contains(left), "{left}");
    }
    let made = new_module("retry", &folder.path().join("other"), &["KIND=filter"]);
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        !made.status.success() && said.contains("\"filter\" is not a KIND"),
        "{said}"
    );
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
        let made = new_module(name, &dir, &[]);
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(!made.status.success() && said.contains(words), "{said}");
        assert!(!dir.exists(), "{name}");
    }
    let made = new_module("foo", folder.path(), &[]);
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        !made.status.success() && said.contains("is there already"),
        "{said}"
    );
}
