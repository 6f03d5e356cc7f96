// SPDX-License-Identifier: BSD-2-Clause
//! Timeouts, poll handles, cancel, lost connections, and a TPM without room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rusttcti::layer::wrap::Wrap;
use rusttcti::wire::CommandCode;
use rusttcti::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

use crate::tpm::*;

/// A TPM that answers each command at the third look, and can be cancelled.
struct Slow {
    inner: Box<dyn Tcti>,
    looks: usize,
    commands: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
    /// The number of the command whose response is lost with the connection.
    lost: Option<usize>,
}

struct Flag(Arc<AtomicBool>);

impl Cancel for Flag {
    fn cancel(&self) -> Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Tcti for Slow {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.looks = 0;
        self.commands.fetch_add(1, Ordering::SeqCst);
        self.inner.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.looks += 1;
        if self.looks < 3 && timeout == Some(Duration::ZERO) {
            return Err(ErrorKind::TryAgain.into());
        }
        let length = self
            .inner
            .receive(response, Some(Duration::from_secs(20)))?;
        if self.lost == Some(self.commands.load(Ordering::SeqCst)) {
            return Err(Error::new(ErrorKind::IoError, "the line is cut"));
        }
        Ok(length)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(Arc::new(Flag(self.cancelled.clone())))
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        Ok(vec![PollHandle::readable(0)])
    }
}

struct Waiting {
    tpm: Wrap<Slow>,
    commands: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

fn waiting(lost: Option<usize>) -> Waiting {
    let commands = Arc::new(AtomicUsize::new(0));
    let cancelled = Arc::new(AtomicBool::new(false));
    let slow = Slow {
        inner: rusttcti::open("libtpms").expect("libtpms"),
        looks: 0,
        commands: commands.clone(),
        cancelled: cancelled.clone(),
        lost,
    };
    Waiting {
        tpm: Wrap::new(slow, "key=null").expect("the options are right"),
        commands,
        cancelled,
    }
}

/// Looks until the response is there, and says how often it was not.
fn look(tpm: &mut dyn Tcti) -> Result<(Vec<u8>, usize)> {
    let mut response = [0; 4096];
    for tries in 0..1000 {
        match tpm.receive(&mut response, Some(Duration::ZERO)) {
            Ok(length) => return Ok((response[..length].to_vec(), tries)),
            Err(error) if error.kind() == ErrorKind::TryAgain => {}
            Err(error) => return Err(error),
        }
    }
    panic!("no response")
}

#[test]
fn receive_returns_try_again_between_own_commands_and_loses_nothing() {
    let mut waiting = waiting(None);
    waiting.tpm.transmit(&get_random(16)).expect("sent");
    assert_eq!(
        waiting.commands.load(Ordering::SeqCst),
        1,
        "transmit waits for no response"
    );
    assert_eq!(waiting.tpm.poll_handles().expect("handles").len(), 1);
    let (response, tries) = look(&mut waiting.tpm).expect("a response");
    assert_eq!(response_code(&response), 0);
    let commands = waiting.commands.load(Ordering::SeqCst);
    assert!(commands > 3, "{commands}");
    assert!(tries >= 2 * commands, "{tries} for {commands}");
}

#[test]
fn a_cancel_during_the_layer_s_own_commands_keeps_the_program_s_from_the_tpm() {
    let mut waiting = waiting(None);
    waiting.tpm.transmit(&get_random(16)).expect("sent");
    let canceller = waiting.tpm.canceller().expect("it can be cancelled");
    canceller.cancel().expect("it is");
    let (response, _) = look(&mut waiting.tpm).expect("a response");
    assert_eq!(response_code(&response), 0x909, "TPM_RC_CANCELED");
    assert!(
        !waiting.cancelled.load(Ordering::SeqCst),
        "the layer's own go on"
    );
    // The next one is not.
    waiting.tpm.transmit(&get_random(16)).expect("sent");
    assert_eq!(
        response_code(&look(&mut waiting.tpm).expect("a response").0),
        0
    );
    // In steady state the program's command is cancelled itself.
    waiting.tpm.transmit(&get_random(16)).expect("sent");
    waiting
        .tpm
        .canceller()
        .expect("it can be")
        .cancel()
        .expect("it is");
    assert!(waiting.cancelled.load(Ordering::SeqCst));
    look(&mut waiting.tpm).expect("a response");
}

#[test]
fn a_line_that_is_cut_anywhere_ends_the_command_and_the_next_works() {
    for lost in 1..9 {
        let mut waiting = waiting(Some(lost));
        let mut failures = 0;
        for _ in 0..4 {
            waiting.tpm.transmit(&get_random(16)).expect("sent");
            match look(&mut waiting.tpm) {
                Ok((response, _)) => assert_eq!(response_code(&response), 0),
                Err(error) => {
                    assert_eq!(error.to_string(), "the line is cut");
                    failures += 1;
                }
            }
        }
        assert_eq!(failures, 1, "at command {lost}");
    }
}

#[test]
fn a_tpm_that_is_not_started_says_so_and_works_once_it_is() {
    use rusttcti::transport::libtpms::{Libtpms, Startup};
    let tpm = Libtpms::builder()
        .startup(Startup::None)
        .open()
        .expect("libtpms");
    let mut bench = Bench::over(Box::new(tpm), "key=null");
    assert_eq!(bench.rc(&get_random(8)), 0x100, "TPM_RC_INITIALIZE");
    bench.ok(&plain(CommandCode::STARTUP, &[], &[0, 0]));
    bench.ok(&get_random(8));
}

/// A kernel's resource manager with room for three sessions: the fourth is run,
/// flushed, and answered with ENOMEM.
struct Kernel {
    inner: Box<dyn Tcti>,
    sessions: usize,
    starting: bool,
}

impl Tcti for Kernel {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.starting = command_code(command) == CommandCode::START_AUTH_SESSION;
        self.inner.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let length = self.inner.receive(response, timeout)?;
        let started = self.starting && response_code(response) == 0;
        let loaded = [&response[..length], &[]].concat();
        let list = plain(
            CommandCode::GET_CAPABILITY,
            &[],
            &[0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 254],
        );
        let list = run(&mut *self.inner, &list)?;
        let places = word(&list[15..]) as usize;
        assert!(places <= 3);
        if started && places > self.sessions {
            run(&mut *self.inner, &flush(word(&loaded[10..])))?;
            return Err(Error::new(ErrorKind::Memory, "no room for a session"));
        }
        Ok(length)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }
}

#[test]
fn a_kernel_s_resource_manager_that_is_full_is_full_as_a_tpm_is() {
    let kernel = Kernel {
        inner: rusttcti::open("libtpms").expect("libtpms"),
        sessions: 2,
        starting: false,
    };
    let mut bench = Bench::over(Box::new(kernel), "key=null");
    // With the layer's own that makes two; the next has no place.
    let sessions: Vec<u32> = (0..2)
        .map(|_| word(&bench.ok(&crate::attacks::start_session(1, 0x10))))
        .collect();
    for _ in 0..2 {
        for session in &sessions {
            bench.ok(&plain(CommandCode::POLICY_GET_DIGEST, &[*session], &[]));
        }
        let random = bench.ok(&get_random(16));
        assert!(!bench.recording.has(&random[2..]));
    }
}
