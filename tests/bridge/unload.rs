// SPDX-License-Identifier: BSD-2-Clause
//! The module leaves nothing behind in a process after any kind of use.
//!
//! Each test examines the whole process, so they run one after the other.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::Library;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

static TURN: Mutex<()> = Mutex::new(());

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// Loads the module, opens `chain`, hands the context to `then`, which
/// finalizes it, and unloads the module.
fn loaded_for(chain: &str, then: impl FnOnce(Vtable, LastError)) {
    let chain = CString::new(chain).expect("no NUL");
    // SAFETY: our own module, whose functions have these signatures; the memory
    // is as large and as aligned as it wants, and stays until it is unloaded.
    unsafe {
        let module = Library::new(rusttcti_kit::module::file()).expect("the module");
        let init = *module
            .get::<Init>(b"Tss2_Tcti_Rusttcti_Init")
            .expect("Init");
        let last_error = *module
            .get::<LastError>(b"Tss2_Tcti_Rusttcti_LastError")
            .expect("LastError");
        let mut size = 0;
        assert_eq!(init(ptr::null_mut(), &mut size, ptr::null()), rc::SUCCESS);
        let layout = Layout::from_size_align(size as usize, 16).expect("a layout");
        let memory = alloc(layout);
        let context = memory.cast();
        assert_eq!(init(context, &mut size, chain.as_ptr()), rc::SUCCESS);
        then(Vtable(context), last_error);
        dealloc(memory, layout);
        drop(module);
    }
}

fn assert_unloaded() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let left: Vec<&str> = maps
        .lines()
        .filter(|map| map.contains("rusttcti.so"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn threads_that_waited_for_each_other_do_not_keep_the_module_loaded() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    loaded_for("cmd:cat > /dev/null", |c, last_error| {
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        // This thread's last failure: its call met one of another thread's.
        let was_busy = || {
            // SAFETY: the module's text, until this thread's next failure.
            let why = unsafe { CStr::from_ptr(last_error()) };
            why.to_string_lossy().contains("another thread")
        };
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                loop {
                    // It may be this call that comes second.
                    match c.receive(500).0 {
                        rc::BAD_SEQUENCE if was_busy() => {}
                        other => return other,
                    }
                }
            });
            loop {
                assert!(!receiver.is_finished(), "no call met the other");
                assert_eq!(c.set_locality(0), rc::BAD_SEQUENCE);
                if was_busy() {
                    break;
                }
                std::thread::yield_now();
            }
            c.finalize();
            assert_eq!(receiver.join().expect("no panic"), rc::TRY_AGAIN);
        });
    });
    assert_unloaded();
}

/// The bytes of the process's heap that are in use.
fn heap() -> usize {
    // SAFETY: numbers of malloc's, which Rust's allocator is too.
    unsafe { libc::mallinfo2() }.uordblks
}

#[test]
fn a_connection_that_contexts_share_is_forgotten_with_the_last_of_them() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let swtpm = Swtpm::unix();
    let chain = format!("swtpm:{},persistent=1", swtpm.conf());
    let round = || {
        loaded_for(&chain, |c, _| {
            assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
            assert_eq!(c.receive(-1).0, rc::SUCCESS);
            c.finalize();
        });
    };
    for _ in 0..5 {
        round();
    }
    let before = heap();
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        round();
    }
    let grown = heap().saturating_sub(before);
    // A connection that is remembered takes some 250 bytes; glibc and the test
    // harness allocate a little of their own.
    assert!(grown < 100 * ROUNDS, "{grown} bytes in {ROUNDS} rounds");
    assert_unloaded();
}
