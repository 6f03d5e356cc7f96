// SPDX-License-Identifier: BSD-2-Clause
//! The functions that `export!` exports, used as a C program uses them.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::CStr;
use std::ptr;

use super::{Exported, Tss2_Tcti_Exported_Init, Tss2_Tcti_Info};
use rusttcti::Module;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::answer;
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

/// Memory for a context, as malloc gives it, filled with a canary.
struct Memory {
    start: *mut u8,
    layout: Layout,
}

impl Memory {
    fn new(size: usize) -> Self {
        let layout = Layout::from_size_align(size.max(1), 16).expect("a layout");
        // SAFETY: the layout has a size.
        let start = unsafe { alloc(layout) };
        assert!(!start.is_null());
        // SAFETY: just allocated.
        unsafe { ptr::write_bytes(start, 0xa5, layout.size()) };
        Self { start, layout }
    }

    fn context(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.start.cast()
    }

    fn is_untouched(&self) -> bool {
        // SAFETY: allocated and filled in `new`.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) };
        bytes.iter().all(|byte| *byte == 0xa5)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}

fn needed() -> size_t {
    let mut size = 0;
    // SAFETY: a NULL context asks for the size.
    let code = unsafe { Tss2_Tcti_Exported_Init(ptr::null_mut(), &mut size, ptr::null()) };
    assert_eq!(code, rc::SUCCESS);
    size
}

fn init(memory: &Memory, mut size: size_t, conf: Option<&CStr>) -> u32 {
    let conf = conf.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the memory, and a size that is at most its own.
    unsafe { Tss2_Tcti_Exported_Init(memory.context(), &mut size, conf) }
}

#[test]
fn the_info_says_what_the_module_says() {
    // SAFETY: a static.
    let info = unsafe { &*Tss2_Tcti_Info() };
    assert_eq!(info.version, 2);
    // SAFETY: static C strings.
    unsafe {
        assert_eq!(CStr::from_ptr(info.name), Exported::NAME);
        assert_eq!(CStr::from_ptr(info.description), Exported::DESCRIPTION);
        assert_eq!(CStr::from_ptr(info.config_help), Exported::CONFIG_HELP);
    }
    assert!(info.init.is_some());
}

#[test]
fn a_context_is_initialised_used_and_finalized() {
    let size = needed();
    let memory = Memory::new(size as usize);
    assert_eq!(init(&memory, size, None), rc::SUCCESS);
    let c = Vtable(memory.context());
    assert_eq!(c.common().v1.magic, 0x5445_5354);
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.response_size(), (rc::SUCCESS, 2048));
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));
    c.finalize();
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
}

#[test]
fn a_null_size_is_a_bad_reference() {
    let memory = Memory::new(needed() as usize);
    // SAFETY: NULL is looked at first.
    unsafe {
        let null = ptr::null_mut();
        assert_eq!(
            Tss2_Tcti_Exported_Init(ptr::null_mut(), null, ptr::null()),
            rc::BAD_REFERENCE
        );
        assert_eq!(
            Tss2_Tcti_Exported_Init(memory.context(), null, ptr::null()),
            rc::BAD_REFERENCE
        );
    }
    assert!(memory.is_untouched());
}

#[test]
fn too_small_a_context_is_a_bad_value_and_nothing_is_written() {
    let needed = needed();
    for size in [0, 1, 88, needed - 1] {
        let memory = Memory::new(size as usize);
        assert_eq!(init(&memory, size, None), rc::BAD_VALUE, "{size} bytes");
        assert!(memory.is_untouched());
    }
}

#[test]
fn memory_that_malloc_would_not_give_is_a_bad_value() {
    let size = needed();
    let memory = Memory::new(size as usize + 1);
    let mut given = size;
    // SAFETY: one byte in, `size` bytes are left.
    let code = unsafe {
        let odd = memory.start.add(1).cast();
        Tss2_Tcti_Exported_Init(odd, &mut given, ptr::null())
    };
    assert_eq!(code, rc::BAD_VALUE);
    assert!(memory.is_untouched());
}

#[test]
fn an_init_that_fails_or_panics_writes_nothing() {
    let size = needed();
    for (conf, code) in [
        (c"fail", rc::NO_CONNECTION),
        (c"panic", rc::GENERAL_FAILURE),
    ] {
        let memory = Memory::new(size as usize);
        assert_eq!(init(&memory, size, Some(conf)), code);
        assert!(memory.is_untouched());
    }
}

#[test]
fn a_configuration_that_is_no_utf_8_is_a_bad_value() {
    let size = needed();
    let memory = Memory::new(size as usize);
    assert_eq!(init(&memory, size, Some(c"/tmp/\xff")), rc::BAD_VALUE);
    assert!(memory.is_untouched());
}

#[test]
fn a_size_query_opens_nothing() {
    let mut size = 0;
    // SAFETY: a NULL context asks for the size; the configuration is not read.
    let code = unsafe { Tss2_Tcti_Exported_Init(ptr::null_mut(), &mut size, c"panic".as_ptr()) };
    assert_eq!((code, size), (rc::SUCCESS, needed()));
}
