// SPDX-License-Identifier: BSD-2-Clause
//! A module whose embedded TPMs one thread has used is unloaded by dlclose(3), with
//! all copies of libtpms and its own threads. One that several threads have used
//! stays loaded, once, and is used again.
//!
//! Each test examines the whole process, so they run one after the other.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Mutex, PoisonError, mpsc};

use libloading::os::unix::Library;
use rusttcti::wire::CommandCode;
use rusttcti_kit::again;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::tpm::create_primary_rsa;
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

static TURN: Mutex<()> = Mutex::new(());

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;

/// Makes a context of this module, hands it to `then`, and finalizes it.
fn with_context(init: Init, chain: &str, then: impl FnOnce(Vtable)) {
    let chain = CString::new(chain).expect("no NUL");
    let mut size = 0;
    // SAFETY: a size, and NULL for "how large".
    let asked = unsafe { init(ptr::null_mut(), &mut size, ptr::null()) };
    assert_eq!(asked, rc::SUCCESS);
    let layout = Layout::from_size_align(size as usize, 16).expect("a layout");
    // SAFETY: not of size 0; given back below.
    let memory = unsafe { alloc(layout) };
    let context = memory.cast();
    // SAFETY: memory as large and as aligned as it wants.
    assert_eq!(
        unsafe { init(context, &mut size, chain.as_ptr()) },
        rc::SUCCESS
    );
    let c = Vtable(context);
    then(c);
    c.finalize();
    // SAFETY: from `alloc` with this layout.
    unsafe { dealloc(memory, layout) };
}

/// Runs a command inline, and one on the TPM's worker.
fn use_once(c: Vtable) {
    // The key is flushed, or the state file would keep it.
    let flush = command(CommandCode::FLUSH_CONTEXT, &[0x80, 0, 0, 0]);
    for command in [get_random(16), create_primary_rsa(2048), flush] {
        assert_eq!(c.transmit(&command), rc::SUCCESS);
        // Waits for the worker, on this thread, which lives on.
        let (code, response) = c.receive(-1);
        assert_eq!(code, rc::SUCCESS);
        assert_eq!(response_code(&response), 0);
    }
}

/// The bytes of the process's heap that are in use.
fn heap() -> usize {
    // SAFETY: numbers of malloc's, which Rust's allocator and OpenSSL's is too.
    unsafe { libc::mallinfo2() }.uordblks
}

/// Returns how many times the module is mapped.
fn modules() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let begins = |map: &&str| map.contains(" 00000000 ") && map.contains("rusttcti.so");
    maps.lines().filter(begins).count()
}

/// OpenSSL's context cannot be freed after several threads used it, while they
/// live. The module that knows it stays loaded, and the next TPMs use it again.
#[test]
fn a_module_that_threads_used_and_that_is_loaded_again_leaves_no_heap() {
    // glibc counts as used what each thread keeps of freed memory for itself.
    again::played(
        again::only!("scene_loaded_again")
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
            .env("RUSTTCTI_MODULE_DIR", rusttcti_kit::module::dir()),
    );
}

#[test]
#[ignore = "a scene of the test above"]
fn scene_loaded_again() {
    let round = |threads: &[mpsc::SyncSender<Init>], done: &mpsc::Receiver<()>| {
        // SAFETY: our own module, whose function has this signature.
        let module = unsafe { Library::new(rusttcti_kit::module::file()) }.expect("the module");
        // SAFETY: as before.
        let init = *unsafe { module.get::<Init>(b"Tss2_Tcti_Rusttcti_Init") }.expect("Init");
        // Used by this thread, the others' TPMs come and go meanwhile.
        with_context(init, "libtpms", |c| {
            use_once(c);
            for thread in threads {
                thread.send(init).expect("the thread waits");
                done.recv().expect("it is done");
            }
        });
    };
    const ROUNDS: usize = 10;
    let (report, done) = mpsc::channel();
    let grown = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..3 {
            let (to, orders) = mpsc::sync_channel::<Init>(0);
            let report = report.clone();
            threads.push(to);
            scope.spawn(move || {
                for init in orders {
                    with_context(init, "libtpms", use_once);
                    report.send(()).expect("the test waits");
                }
            });
        }
        for _ in 0..3 {
            round(&threads, &done);
        }
        assert_eq!(modules(), 1, "it stays loaded");
        let before = heap();
        for _ in 0..ROUNDS {
            round(&threads, &done);
        }
        assert_eq!(modules(), 1);
        heap().saturating_sub(before)
    });
    assert!(grown < 100 * ROUNDS, "{grown} bytes in {ROUNDS} rounds");
}

#[test]
fn an_embedded_tpm_goes_with_the_module() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let state = format!("libtpms:{}/state", folder.path().display());
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let before = descriptors();
    for _ in 0..20 {
        // SAFETY: our own module, whose function has this signature.
        let module = unsafe { Library::new(rusttcti_kit::module::file()) }.expect("the module");
        // SAFETY: as before.
        let init = *unsafe { module.get::<Init>(b"Tss2_Tcti_Rusttcti_Init") }.expect("Init");
        with_context(init, "libtpms", use_once);
        with_context(init, &state, use_once);
        drop(module);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let ours = |map: &&str| {
            ["rusttcti.so", "libtpms.so", "memfd:"]
                .iter()
                .any(|name| map.contains(name))
        };
        let left: Vec<&str> = maps.lines().filter(ours).collect();
        assert!(left.is_empty(), "{left:#?}");
        assert_eq!(descriptors(), before);
        let threads = std::fs::read_dir("/proc/self/task")
            .expect("procfs")
            .count();
        assert!(threads <= 2, "{threads} threads, one of them the test's");
    }
}
