// SPDX-License-Identifier: BSD-2-Clause
//! The module goes, with all copies of libtpms and its threads, when it is
//! unloaded.

mod common;

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CString, c_char};
use std::ptr;

use common::commands::{command, get_random, response_code};
use common::tpm::create_primary_rsa;
use common::vtable::{Vtable, rc};
use libloading::os::unix::Library;
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;

/// A context of this module in memory of its own, used, and finalized.
fn use_once(init: Init, chain: &str) {
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
    // The key is flushed, or the state file would keep it.
    let flush = command(0x165, &[0x80, 0, 0, 0]);
    for command in [get_random(16), create_primary_rsa(2048), flush] {
        assert_eq!(c.transmit(&command), rc::SUCCESS);
        // Waits for the worker, on this thread, which lives on.
        let (code, response) = c.receive(-1);
        assert_eq!(code, rc::SUCCESS);
        assert_eq!(response_code(&response), 0);
    }
    c.finalize();
    // SAFETY: from `alloc` with this layout.
    unsafe { dealloc(memory, layout) };
}

/// One test in this program, because what is mapped is the whole process's.
#[test]
fn an_embedded_tpm_goes_with_the_module() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = format!("libtpms:{}/state", folder.path().display());
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let before = descriptors();
    for _ in 0..20 {
        // SAFETY: our own module, whose function has this signature.
        let module = unsafe { Library::new(common::module::file()) }.expect("the module");
        // SAFETY: as before.
        let init = *unsafe { module.get::<Init>(b"Tss2_Tcti_Rusttcti_Init") }.expect("Init");
        use_once(init, "libtpms");
        use_once(init, &state);
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
