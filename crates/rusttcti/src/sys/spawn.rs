// SPDX-License-Identifier: BSD-2-Clause
//! Starts a shell as a child process that ends with this process.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

/// Starts `/bin/sh -c command` in a process group of its own, with an empty
/// signal mask, and returns its process id. The kernel kills it when the calling
/// thread ends.
pub(crate) fn shell(
    command: &str,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<u32> {
    let parent = std::process::id() as libc::pid_t;
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0);
    // SAFETY: between fork and exec `prepare` makes system calls only.
    unsafe { shell.pre_exec(move || prepare(parent)) };
    Ok(shell.spawn()?.id())
}

/// Prepares the child before it becomes the shell.
fn prepare(parent: libc::pid_t) -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: calls that are allowed after fork; the set is filled in by the
    // call that gets its pointer first.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before the request: then no signal would come.
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        // An ignored signal stays ignored in the shell and in all that it starts. A
        // shell without SIGCHLD loses exit statuses; a filter without SIGPIPE never
        // notices that its reader has ended.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
    Ok(())
}
