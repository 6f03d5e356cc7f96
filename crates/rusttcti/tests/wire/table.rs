// SPDX-License-Identifier: BSD-2-Clause
//! The table of commands, compared with the commands that TPMs list, and with the
//! effects of these commands.

use rusttcti::wire::{
    Blamed, Command, CommandBuilder, CommandCode, Handle, ResponseCode, SessionAttributes,
};

use crate::tpm::Tpm;

/// TPM_RC_ATTRIBUTES of the first session.
const ATTRIBUTES_S1: ResponseCode = ResponseCode::ATTRIBUTES.blaming(Blamed::Session(1));

#[test]
fn a_code_is_found_exactly_if_the_table_has_it() {
    for code in (0..0x1000).chain([u32::MAX, 0x2000_0000]).map(CommandCode) {
        let mut rows = Command::all().iter();
        let row = rows.find(|command| command.code == code);
        let found = Command::of(code);
        assert_eq!(found.map(|c| c.name), row.map(|c| c.name), "{code}");
    }
}

#[test]
fn the_table_says_of_each_command_what_a_tpm_says_of_it() {
    for (name, mut tpm) in Tpm::all() {
        let listed = tpm.attributes();
        assert!(listed.len() > 90, "{name}: {} commands", listed.len());
        for attributes in listed {
            let code = CommandCode(attributes & 0x2000_ffff);
            let command = Command::of(code).unwrap_or_else(|| panic!("{code} is missing"));
            assert_eq!(
                format!("{:08x}", command.attributes()),
                format!("{attributes:08x}"),
                "{name}: {code}"
            );
        }
    }
}

#[test]
fn a_command_wants_as_many_authorizations_of_a_tpm_as_the_table_says() {
    for (name, mut tpm) in Tpm::all() {
        for command in tpm.commands() {
            if !command.no_sessions {
                count_authorizations(name, &mut tpm, command);
            }
        }
    }
}

fn count_authorizations(name: &str, tpm: &mut Tpm, command: &Command) {
    let mut builder = tpm.with_handles(command);
    for _ in 0..command.authorizations() {
        let answer = tpm.answer(builder.clone());
        assert_eq!(
            answer,
            ResponseCode::AUTH_MISSING,
            "{name}: {}",
            command.name
        );
        // A wrong one, so that the command is not run in the end.
        let (none, wrong) = (SessionAttributes::NONE, b"none has this");
        builder = builder
            .auth(Handle::RS_PW, &[], none, wrong)
            .expect("short");
    }
    if command.authorizations() == 0 {
        // A session that is refused, for the same reason.
        let session = tpm.hmac_session;
        builder = builder
            .auth(session, &[], SessionAttributes::NONE, &[])
            .expect("short");
    }
    let answer = tpm.answer(builder);
    assert!(!answer.is_success(), "{name}: {} was run", command.name);
    assert_ne!(
        answer,
        ResponseCode::AUTH_MISSING,
        "{name}: {}",
        command.name
    );
}

#[test]
fn a_session_decrypts_and_encrypts_for_a_tpm_where_the_table_says() {
    for (name, mut tpm) in Tpm::all() {
        for command in tpm.commands() {
            if command.no_sessions {
                continue;
            }
            let builder = tpm.with_handles(command);
            for (attribute, allowed) in [
                (SessionAttributes::DECRYPT, command.decrypt),
                (SessionAttributes::ENCRYPT, command.encrypt),
            ] {
                let attributes = attribute | SessionAttributes::CONTINUE_SESSION;
                let builder = builder.clone();
                let session = builder.auth(tpm.hmac_session, &[7; 16], attributes, &[0; 32]);
                let answer = tpm.answer(session.expect("short buffers"));
                let refused = answer == ATTRIBUTES_S1;
                assert_eq!(
                    !refused, allowed,
                    "{name}: {} {attribute}: {answer}",
                    command.name
                );
            }
        }
    }
}

#[test]
fn a_command_refuses_sessions_of_a_tpm_where_the_table_says() {
    for (name, mut tpm) in Tpm::all() {
        for command in tpm.commands() {
            let builder = match command.code {
                CommandCode::CONTEXT_SAVE => CommandBuilder::context_save(tpm.object),
                // A started TPM refuses any Startup with INITIALIZE.
                CommandCode::STARTUP => continue,
                code if command.no_sessions => CommandBuilder::new(code),
                _ => tpm.with_handles(command),
            };
            let reserved = SessionAttributes(0x19);
            let session = builder.auth(tpm.hmac_session, &[], reserved, &[]);
            let answer = tpm.answer(session.expect("short buffers"));
            let refused = answer == ResponseCode::AUTH_CONTEXT;
            assert_eq!(
                refused, command.no_sessions,
                "{name}: {}: {answer}",
                command.name
            );
        }
    }
}
