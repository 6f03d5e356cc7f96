// SPDX-License-Identifier: BSD-2-Clause
//! Runs a part of a test in a separate process, and reads its log meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Stdio};

use rusttcti_kit::again;

/// The variable with the chain that a scene opens.
pub const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

/// A scene that runs, and its log from the level info on.
pub struct Scene(Child, BufReader<ChildStderr>);

impl Scene {
    /// Starts the ignored test `name` of `module` with a chain.
    pub fn start(module: &str, name: &str, chain: &str) -> Self {
        let mut child = again::command(module, name, true)
            .env(CHAIN, chain)
            .env("TSS2_LOG", "tcti+info")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self(child, log)
    }

    /// Returns the next line that is wanted, as soon as it is there.
    pub fn line(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut passed = Vec::new();
        for line in self.1.by_ref().lines() {
            let line = line.expect("UTF-8");
            if is_wanted(&line) {
                return line;
            }
            passed.push(line);
        }
        panic!("it ends without the line: {passed:#?}");
    }

    /// Writes a line to its standard input.
    pub fn go_on(&mut self) {
        let stdin = self.0.stdin.as_mut().expect("piped");
        stdin.write_all(b"\n").expect("it reads");
    }

    /// Asserts that it ends with success.
    pub fn ends(mut self) {
        let status = self.0.wait().expect("ours");
        assert!(status.success(), "{status}");
    }
}
