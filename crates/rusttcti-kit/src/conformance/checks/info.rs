// SPDX-License-Identifier: BSD-2-Clause
//! A module's description of itself, and the parts of its contexts.

use std::ffi::CStr;

use super::support::checks;
use crate::conformance::{Subject, Verdict, ensure};

checks! {
    "info-is-complete": "Tss2_Tcti_Info tells a version, a name, a description, a help text and an Init function." => info_is_complete,
    "context-has-a-magic": "A context begins with a magic that is not 0." => context_has_a_magic,
    "context-has-version-2": "A context is of version 2 of the interface." => context_has_version_2,
    "context-has-its-functions": "No function of a context is missing." => context_has_its_functions,
}

fn info_is_complete(subject: &Subject) -> Verdict {
    let module = subject.as_module()?;
    // SAFETY: a static of the module.
    let info = unsafe { &*module.info };
    ensure!(info.version >= 1, "the version is {}", info.version);
    for (what, text) in [
        ("name", info.name),
        ("description", info.description),
        ("config_help", info.config_help),
    ] {
        ensure!(!text.is_null(), "{what} is NULL");
        // SAFETY: a C string, by the specification.
        let text = unsafe { CStr::from_ptr(text) };
        ensure!(!text.is_empty(), "{what} is empty");
    }
    Ok(())
}

fn context_has_a_magic(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    ensure!(opened.c.common().v1.magic != 0, "the magic is 0");
    Ok(())
}

fn context_has_version_2(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let version = opened.c.common().v1.version;
    ensure!(version == 2, "the version is {version}");
    Ok(())
}

fn context_has_its_functions(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let common = opened.c.common();
    for (name, missing) in [
        ("transmit", common.v1.transmit.is_none()),
        ("receive", common.v1.receive.is_none()),
        ("finalize", common.v1.finalize.is_none()),
        ("cancel", common.v1.cancel.is_none()),
        ("getPollHandles", common.v1.getPollHandles.is_none()),
        ("setLocality", common.v1.setLocality.is_none()),
        ("makeSticky", common.makeSticky.is_none()),
    ] {
        ensure!(!missing, "{name} is NULL");
    }
    Ok(())
}
