// SPDX-License-Identifier: BSD-2-Clause
//! The module as `make install` installs it, in a folder of the test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A DESTDIR, removed when this is dropped.
pub struct Stage(tempfile::TempDir);

impl Stage {
    /// Installs with PREFIX=/usr and LIBDIR=/usr/lib.
    pub fn new() -> Self {
        Self::with(&["PREFIX=/usr", "LIBDIR=/usr/lib"])
    }

    /// Installs with these variables of the Makefile.
    pub fn with(variables: &[&str]) -> Self {
        let stage = Self(tempfile::tempdir().expect("a temporary folder"));
        stage.make("install", variables);
        stage
    }

    /// Runs a target of the Makefile with this DESTDIR.
    pub fn make(&self, target: &str, variables: &[&str]) {
        let module = super::module::file();
        output(
            make(target)
                .arg(format!("MODULE={}", module.display()))
                .arg(format!("DESTDIR={}", self.path().display()))
                .args(variables),
        );
    }

    /// Returns the DESTDIR's path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the folder of the libraries, as [`Stage::new`] installs them.
    pub fn lib(&self) -> PathBuf {
        self.path().join("usr/lib")
    }

    /// Returns pkg-config's flags for the staged module, as arguments for a compiler.
    pub fn pkg_config(&self, what: &str) -> Vec<String> {
        let flags = output(
            Command::new("pkg-config")
                .env("PKG_CONFIG_PATH", self.lib().join("pkgconfig"))
                .env("PKG_CONFIG_SYSROOT_DIR", self.path())
                .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
                .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
                .args([what, "tss2-tcti-rusttcti"]),
        );
        flags.split_whitespace().map(str::to_owned).collect()
    }
}

/// Returns a make command for this target of the Makefile.
pub fn make(target: &str) -> Command {
    let mut command = Command::new("make");
    command
        .args(["--no-print-directory", target])
        .current_dir(super::module::root())
        // Variables that a `make check` around the tests has set are not meant for this
        // make.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("PREFIX")
        .env_remove("LIBDIR");
    command
}

/// Runs a program to its end and returns its standard output; panics with all its
/// output if it fails.
pub fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
