// SPDX-License-Identifier: BSD-2-Clause
//! Threads with fewer privileges than their process.

/// Drops all privileges of root, on the calling thread alone.
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

/// Makes a system call fail with EPERM, on the calling thread and on threads that it
/// starts later.
pub fn refuse_system_call_on_this_thread(number: libc::c_long) {
    // The number is the first field of a filter's input (struct seccomp_data).
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let verdict = (libc::BPF_RET | libc::BPF_K) as u16;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    // SAFETY: these two build a struct from numbers.
    let mut filter = unsafe {
        [
            libc::BPF_STMT(load, 0),
            libc::BPF_JUMP(equal, number as u32, 0, 1),
            libc::BPF_STMT(verdict, refused),
            libc::BPF_STMT(verdict, libc::SECCOMP_RET_ALLOW),
        ]
    };
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a program of four instructions, which the kernel copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}
