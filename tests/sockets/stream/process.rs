// SPDX-License-Identifier: BSD-2-Clause
//! The effects of a stream on its process, and on its children.

use rusttcti::{ErrorKind, Pipes, Stream, Tcti, TctiExt};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;

use super::{KINDS, Line, connected, pipe};

/// Runs `child` in a forked child, and returns what it returned.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes only the calls that this test is about.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork"),
        0 => {
            let code = child();
            // SAFETY: ends the child, without the test's own handlers.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "status {status:x}");
            libc::WEXITSTATUS(status)
        }
    }
}

#[test]
fn a_forked_child_is_refused_and_disturbs_no_exchange() {
    for (kind, open) in KINDS {
        let Line { mut tpm, peer } = open();
        peer.serve();
        tpm.transmit(&get_random(16)).expect(kind);
        let refused = in_child(|| {
            let results = [
                tpm.receive(&mut [0; 4096], None).map(drop),
                tpm.transmit(&get_random(16)),
                tpm.poll_handles().map(drop),
                tpm.after_fork(),
            ];
            let refused = results.iter().filter(|result| {
                result
                    .as_ref()
                    .is_err_and(|e| e.kind() == ErrorKind::BadContext)
            });
            let count = refused.count() as i32;
            tpm.finalize().map_or(99, |()| count)
        });
        assert_eq!(refused, 4, "{kind}");
        assert_eq!(tpm.receive(&mut [0; 4096], None).expect(kind), 28);
        assert_eq!(tpm.execute(&get_random(4), None).expect(kind).len(), 16);
    }
}

#[test]
fn the_peer_sees_the_end_though_a_forked_child_has_a_copy() {
    let (stream, mut peer) = connected();
    let mut tpm = Stream::new(stream);
    // SAFETY: the child only waits to be killed.
    let child = match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        },
        pid => pid,
    };
    tpm.finalize().expect("ended");
    peer.set_read_timeout(Some(PATIENCE)).expect("set");
    let end = std::io::Read::read(&mut peer, &mut [0]);
    // SAFETY: our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_eq!(end.expect("the end, not the timeout"), 0);
}

#[test]
fn a_pipe_that_is_read_by_nobody_is_an_error_and_not_the_end_of_a_c_program() {
    again::played(&mut again::only!("writes_to_nobody"));
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn writes_to_nobody() {
    // SAFETY: as a C program has it; Rust's own start had it ignored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let ((from_tpm, _to_us), (from_us, to_tpm)) = (pipe(), pipe());
    drop(from_us);
    let mut tpm = Stream::new(Pipes::new(from_tpm, to_tpm));
    let error = tpm.transmit(&get_random(16)).expect_err("nobody reads");
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert!(error.report().contains("Broken pipe"), "{}", error.report());
    // A write when the stream is dropped raises none either.
    let ((from_tpm, _to_us), (from_us, to_tpm)) = (pipe(), pipe());
    let mut tpm = Stream::new(Late(from_tpm, to_tpm));
    drop(from_us);
    tpm.finalize().expect("closed");
    // SAFETY: a fresh set, filled in by the call.
    unsafe {
        let mut pending = std::mem::zeroed();
        assert_eq!(libc::sigpending(&mut pending), 0);
        assert_eq!(libc::sigismember(&pending, libc::SIGPIPE), 0);
    }
}

/// A stream that writes when it is dropped, as one of TLS does.
struct Late(std::fs::File, std::fs::File);

impl std::io::Read for Late {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(room)
    }
}

impl std::io::Write for Late {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1.flush()
    }
}

impl std::os::fd::AsFd for Late {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        let _ = std::io::Write::write(&mut self.1, b"the end");
    }
}
