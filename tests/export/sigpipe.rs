// SPDX-License-Identifier: BSD-2-Clause
//! An exported transport may write to a pipe without a reader. SIGPIPE does not end
//! a C program that loads it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::ptr;
use std::time::Duration;

use super::{Tss2_Tcti_Exported_Init, Tss2_Tcti_Rusttcti_LastError};
use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, PollHandle, Result, Tcti};
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::vtable::{Vtable, rc};

/// Writes to a pipe whose reader is gone, wherever it is asked to do something.
pub(super) struct Broken(File);

impl Broken {
    /// Opens one, which fails in Init where `in_init` is set.
    pub(super) fn open(in_init: bool) -> Result<Self> {
        let (reader, writer) = rustix::pipe::pipe().map_err(std::io::Error::from)?;
        drop(reader);
        let mut broken = Self(writer.into());
        if in_init {
            broken.0.write_all(b"x")?;
        }
        Ok(broken)
    }
}

impl Tcti for Broken {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        // A long one gets through, so that receive has its turn.
        let written = self.0.write_all(command);
        if command.len() > 12 {
            Ok(())
        } else {
            Ok(written?)
        }
    }

    fn receive(&mut self, _: &mut [u8], _: Option<Duration>) -> Result<usize> {
        self.0.write_all(b"x")?;
        Err(ErrorKind::TryAgain.into())
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.0.write_all(b"x")?;
        Ok(Vec::new())
    }

    fn set_locality(&mut self, _: u8) -> Result<()> {
        // A transport that doesn't look at what its write came to.
        let _ = self.0.write_all(b"x");
        Ok(())
    }

    fn finalize(&mut self) -> Result<()> {
        Ok(self.0.write_all(b"bye")?)
    }
}

fn signal_mask_has_sigpipe() -> bool {
    // SAFETY: NULL changes nothing; the set is filled in before it is read.
    unsafe {
        let mut mask = std::mem::zeroed();
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask),
            0
        );
        libc::sigismember(&mask, libc::SIGPIPE) == 1
    }
}

#[test]
fn a_broken_pipe_is_an_error_and_not_the_end_of_the_program() {
    // SAFETY: as a C program has it; Rust's own start had it ignored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut size = 0;
    // SAFETY: a NULL context asks for the size.
    unsafe { Tss2_Tcti_Exported_Init(ptr::null_mut(), &mut size, ptr::null()) };
    let mut memory = vec![0_u128; size as usize / 16 + 1];
    let context = memory.as_mut_ptr().cast();

    // SAFETY: memory of `size` bytes and more, and a C string.
    let code = unsafe { Tss2_Tcti_Exported_Init(context, &mut size, c"broken in init".as_ptr()) };
    assert_eq!(code, rc::NO_CONNECTION);
    // SAFETY: a C string, this thread's.
    let told = unsafe { CStr::from_ptr(Tss2_Tcti_Rusttcti_LastError()) };
    assert_eq!(told.to_str(), Ok("Broken pipe (os error 32)"));

    // SAFETY: as above.
    let code = unsafe { Tss2_Tcti_Exported_Init(context, &mut size, c"broken".as_ptr()) };
    assert_eq!(code, rc::SUCCESS);
    let c = Vtable(context);
    assert_eq!(c.transmit(&get_random(4)), rc::NO_CONNECTION);
    assert_eq!(c.set_locality(1), rc::SUCCESS);
    assert_eq!(c.poll_handles(0).0, rc::NO_CONNECTION);
    assert_eq!(
        c.transmit(&command(CommandCode::SELF_TEST, &[1; 8])),
        rc::SUCCESS
    );
    assert_eq!(c.receive(0).0, rc::NO_CONNECTION);
    assert!(!signal_mask_has_sigpipe());
    c.finalize();
    // The signal is not merely put off.
    assert!(!signal_mask_has_sigpipe());
    // SAFETY: a fresh set, filled in by the call.
    let pending = unsafe {
        let mut pending = std::mem::zeroed();
        assert_eq!(libc::sigpending(&mut pending), 0);
        libc::sigismember(&pending, libc::SIGPIPE)
    };
    assert_eq!(pending, 0);
}
