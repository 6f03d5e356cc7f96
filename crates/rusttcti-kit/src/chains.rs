// SPDX-License-Identifier: BSD-2-Clause
//! A chain of each kind, with the peers at their other ends.

use super::mssim::Simulator;
use super::swtpm::Swtpm;

/// A chain to a shell script. It answers each command whose last byte is its only
/// newline (as in GetRandom(10)) with ten digits.
pub const SHELL_TPM: &str = r"cmd:while read line; do
    printf '\200\001\000\000\000\026\000\000\000\000\000\012%010d' $$; done";

/// The peers at the other ends, which are stopped when this value is dropped.
pub struct Chains {
    /// The swtpm on TCP ports.
    pub tcp: Swtpm,
    /// The swtpm on unix sockets.
    pub unix: Swtpm,
    simulator: Simulator,
    folder: tempfile::TempDir,
}

impl Chains {
    /// Starts the peers.
    pub fn new() -> Self {
        Self {
            tcp: Swtpm::tcp(),
            unix: Swtpm::unix(),
            simulator: Simulator::started(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Returns a chain to an embedded TPM with a state file.
    pub fn state(&self) -> String {
        format!("libtpms:{}/state", self.folder.path().display())
    }

    /// Returns a chain to the swtpm on TCP ports.
    pub fn swtpm(&self) -> String {
        format!("swtpm:{}", self.tcp.conf())
    }

    /// Returns a chain that holds the swtpm's unix socket exclusively while it is open.
    pub fn persistent(&self) -> String {
        format!("swtpm:{},persistent=1", self.unix.conf())
    }

    /// Returns a chain to the simulator.
    pub fn mssim(&self) -> String {
        format!("mssim:{}", self.simulator.conf())
    }

    /// Returns the chain `inner` with the layer pcap around it.
    pub fn recorded(&self, inner: &str) -> String {
        format!("pcap,file={}/log:{inner}", self.folder.path().display())
    }

    /// Returns the chain to tpm2-tss's own module, by its file name.
    pub fn c_module(&self) -> String {
        format!("libtss2-tcti-swtpm.so.0:{}", self.tcp.conf())
    }

    /// Returns one chain of each kind of this project's transports.
    pub fn ours(&self) -> [String; 7] {
        [
            "libtpms".to_owned(),
            self.state(),
            self.swtpm(),
            self.persistent(),
            self.mssim(),
            SHELL_TPM.to_owned(),
            self.recorded("libtpms"),
        ]
    }
}
