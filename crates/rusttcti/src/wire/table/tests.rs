// SPDX-License-Identifier: BSD-2-Clause
//! Checks the rows of the table against each other.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::*;

#[test]
fn codes_ascend_and_names_differ_whatever_their_spelling() {
    assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
    let names: HashSet<_> = TABLE
        .iter()
        .map(|command| command.name.replace('_', "").to_lowercase())
        .collect();
    assert_eq!(names.len(), TABLE.len());
    assert_eq!(TABLE.len(), 135);
}

#[test]
fn handles_that_need_an_authorization_come_first() {
    for command in TABLE {
        let needed = command
            .handles
            .iter()
            .filter(|handle| handle.role.is_some());
        assert_eq!(needed.count(), command.authorizations(), "{}", command.name);
        assert!(command.handles.len() <= 3, "{}", command.name);
    }
}

#[test]
fn a_command_that_refuses_sessions_encrypts_nothing_and_authorizes_nothing() {
    let refusing: Vec<_> = TABLE.iter().filter(|command| command.no_sessions).collect();
    let names: Vec<_> = refusing.iter().map(|command| command.name).collect();
    assert_eq!(
        names,
        ["Startup", "ContextLoad", "ContextSave", "FlushContext"]
    );
    for command in refusing {
        assert!(!command.decrypt && !command.encrypt && command.authorizations() == 0);
    }
}

#[test]
fn a_handle_that_a_command_flushes_may_be_an_object_s() {
    for command in TABLE {
        if let Flushes::Handle(number) = command.flushes {
            let handle = command.handles[number];
            assert_eq!(handle.name, "sequenceHandle", "{}", command.name);
            assert!(handle.kind.may_be_object());
        }
    }
}

#[test]
fn a_command_is_found_by_its_code_and_no_other_is() {
    for command in TABLE {
        let found = Command::of(command.code).expect("a row");
        assert!(std::ptr::eq(found, command));
    }
    for code in [0, 0x11e, 0x123, 0x15a, 0x1a2, 0x1ab, 0x2000_0001, u32::MAX] {
        assert_eq!(Command::of(CommandCode(code)), None, "{code:x}");
    }
}
