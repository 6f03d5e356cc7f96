// SPDX-License-Identifier: BSD-2-Clause
//! What several tests need, once.

#![allow(dead_code)] // each test program uses its own part

pub mod again;
pub mod alloc;
pub mod chains;
pub mod commands;
pub mod counter;
pub mod hostile;
pub mod loaded;
pub mod long;
pub mod model;
pub mod module;
pub mod mssim;
pub mod peer;
pub mod poll;
pub mod proc;
pub mod pty;
pub mod scripted;
pub mod sha256;
pub mod signals;
pub mod sshd;
pub mod stage;
pub mod strace;
pub mod swtpm;
pub mod tpm;
pub mod tpmlib;
pub mod tshark;
pub mod vtable;
pub mod worker;

/// Gives up all rights that root has, on the calling thread alone.
pub fn become_nobody_on_this_thread() {
    const NOBODY: libc::uid_t = 65534;
    // SAFETY: these are the system calls, which change one thread; glibc's
    // functions of these names would change the whole process.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            0
        );
        assert_eq!(
            libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
            0
        );
        assert_eq!(
            libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
            0
        );
    }
}
