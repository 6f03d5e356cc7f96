// SPDX-License-Identifier: BSD-2-Clause
//! The module leaves a process whole, also after threads waited for each other.

mod common;

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CStr, c_char};
use std::ptr;

use common::commands::get_random;
use common::vtable::{Vtable, rc};
use libloading::os::unix::Library;
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// One test in this program, because the mappings are the whole process's.
#[test]
fn threads_that_waited_for_each_other_do_not_keep_the_module_loaded() {
    // SAFETY: our own module, whose functions have these signatures; the memory
    // is as large and as aligned as it wants, and stays until it is unloaded.
    unsafe {
        let module = Library::new(common::module::file()).expect("the module");
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
        let chain = c"cmd:cat > /dev/null";
        assert_eq!(init(context, &mut size, chain.as_ptr()), rc::SUCCESS);

        let c = Vtable(context);
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || c.receive(500).0);
            loop {
                assert_eq!(c.set_locality(0), rc::BAD_SEQUENCE);
                let why = CStr::from_ptr(last_error()).to_string_lossy();
                if why.contains("another thread") {
                    break;
                }
                std::thread::yield_now();
            }
            c.finalize();
            assert_eq!(receiver.join().expect("no panic"), rc::TRY_AGAIN);
        });
        dealloc(memory, layout);
        drop(module);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let left: Vec<&str> = maps
        .lines()
        .filter(|map| map.contains("rusttcti.so"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}
