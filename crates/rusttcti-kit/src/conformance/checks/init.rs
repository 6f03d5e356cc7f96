// SPDX-License-Identifier: BSD-2-Clause
//! Init functions: sizes, arguments, and failures that leak nothing.

use std::ptr;

use tss_esapi_sys::size_t;

use super::support::{checks, exchange, expect, expect_one_of};
use crate::conformance::{Subject, Verdict, ensure};
use crate::proc;
use crate::vtable::rc;

checks! {
    "init-tells-the-size": "Init with a NULL context tells the size that a context needs." => tells_the_size,
    "init-refuses-a-null-size": "Init with a NULL size is TSS2_TCTI_RC_BAD_REFERENCE or BAD_VALUE." => refuses_a_null_size,
    "init-refuses-too-little-memory": "Init with too small a size is refused, and writes nothing." => refuses_too_little_memory,
    "init-failure-is-an-error": "Init with a nonsensical configuration fails." => failure_is_an_error,
    "init-failure-leaves-nothing": "Init that fails leaves no descriptor and no thread." => failure_leaves_nothing,
    "contexts-are-independent": "Two contexts of one module do not affect each other." => contexts_are_independent,
}

/// A configuration that every module refuses.
const NONSENSE: &std::ffi::CStr = c"no-such-option=no-such-value,/no/such/path";

fn tells_the_size(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    let mut size: size_t = 0;
    // SAFETY: a NULL context asks for the size.
    let code = unsafe { (module.init)(ptr::null_mut(), &mut size, ptr::null()) };
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
    unsafe { (module.init)(ptr::null_mut(), &mut size, ptr::null()) };
    let mut memory = vec![0xa5_u8; size as usize + 16];
    let mut given = 8;
    let conf = module
        .conf
        .as_ref()
        .map_or(ptr::null(), |conf| conf.as_ptr());
    // SAFETY: memory of more than eight bytes, as malloc aligns it.
    let code = unsafe { (module.init)(memory.as_mut_ptr().cast(), &mut given, conf) };
    ensure!(code != 0, "a context of 8 bytes is taken (it needs {size})");
    ensure!(
        memory.iter().all(|byte| *byte == 0xa5),
        "memory beyond 8 bytes was written"
    );
    Ok(())
}

fn failure_is_an_error(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    ensure!(module.open(Some(NONSENSE)).is_err(), "{NONSENSE:?} opens");
    Ok(())
}

fn failure_leaves_nothing(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    let before = (proc::fds(), proc::threads());
    for _ in 0..20 {
        ensure!(module.open(Some(NONSENSE)).is_err(), "{NONSENSE:?} opens");
    }
    let after = (proc::fds(), proc::threads());
    ensure!(
        before == after,
        "descriptors and threads before {before:?}, after {after:?}"
    );
    Ok(())
}

fn contexts_are_independent(subject: &Subject) -> Verdict {
    let one = subject.open()?;
    let mut other = subject.open()?;
    exchange(one.c, 4)?;
    exchange(other.c, 8)?;
    other.finalize();
    exchange(one.c, 12)
}
