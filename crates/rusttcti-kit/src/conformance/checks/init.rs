// SPDX-License-Identifier: BSD-2-Clause
//! Init functions: sizes, arguments, and failures that leak nothing.

use std::ptr;

use tss_esapi_sys::size_t;

use super::support::{checks, exchange, expect, expect_one_of, unchanged};
use crate::conformance::{NotPassed, Subject, Verdict, ensure};
use crate::proc;
use crate::vtable::rc;

checks! {
    "init-tells-the-size": "Init with a NULL context tells the size that a context needs." => tells_the_size,
    "init-refuses-a-null-size": "Init with a NULL size is TSS2_TCTI_RC_BAD_REFERENCE or BAD_VALUE." => refuses_a_null_size,
    "init-refuses-too-little-memory": "Init with too small a size is refused, and writes nothing." => refuses_too_little_memory,
    "init-failure-is-an-error": "Init with a nonsensical configuration fails, or else the first command does." => failure_is_an_error,
    "init-failure-leaves-nothing": "Init that fails leaves no descriptor and no thread." => failure_leaves_nothing,
    "contexts-are-independent": "Two contexts of one module do not affect each other." => contexts_are_independent,
}

/// A configuration that every module refuses.
const NONSENSE: &std::ffi::CStr = c"no-such-option=no-such-value,/no/such/path";

fn tells_the_size(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    let mut size: size_t = 0;
    // SAFETY: a NULL context asks for the size, as tctildr does, with its CONF.
    let code = unsafe { (module.init)(ptr::null_mut(), &mut size, module.conf_pointer()) };
    expect("Init(NULL, &size)", code, rc::SUCCESS)?;
    ensure!(
        size >= 80,
        "a context of {size} bytes has no room for its functions"
    );
    Ok(())
}

fn refuses_a_null_size(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    // SAFETY: the check passes NULL on purpose.
    let code = unsafe { (module.init)(ptr::null_mut(), ptr::null_mut(), ptr::null()) };
    expect_one_of(
        "Init(NULL, NULL)",
        code,
        &[rc::BAD_REFERENCE, rc::BAD_VALUE],
    )
}

fn refuses_too_little_memory(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    let mut size: size_t = 0;
    // SAFETY: a NULL context asks for the size.
    let code = unsafe { (module.init)(ptr::null_mut(), &mut size, module.conf_pointer()) };
    expect("Init(NULL, &size)", code, rc::SUCCESS)?;
    let mut memory = vec![0xa5_u8; size as usize + 16];
    let mut given = 8;
    // SAFETY: memory of more than eight bytes, as malloc aligns it.
    let code = unsafe {
        (module.init)(
            memory.as_mut_ptr().cast(),
            &mut given,
            module.conf_pointer(),
        )
    };
    ensure!(code != 0, "a context of 8 bytes is taken (it needs {size})");
    ensure!(
        memory.iter().all(|byte| *byte == 0xa5),
        "memory beyond 8 bytes was written"
    );
    Ok(())
}

fn failure_is_an_error(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    // A shell command, for one, shows only later that there is no such program.
    if let Ok(opened) = module.open(Some(NONSENSE)) {
        let answered = exchange(opened.c, 4).is_ok();
        ensure!(!answered, "{NONSENSE:?} opens, and a command is answered");
    }
    Ok(())
}

fn failure_leaves_nothing(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    let before = (proc::fds(), proc::threads());
    for _ in 0..20 {
        if module.open(Some(NONSENSE)).is_ok() {
            let text = format!("{NONSENSE:?} opens, and the first command fails");
            return Err(NotPassed::NotApplicable(text));
        }
    }
    unchanged(&before, &(proc::fds(), proc::threads()))
}

fn contexts_are_independent(subject: &Subject) -> Verdict {
    let (one, mut other) = subject.open_beside(subject.open()?)?;
    exchange(one.c, 4)?;
    exchange(other.c, 8)?;
    other.finalize();
    exchange(one.c, 12)
}
