// SPDX-License-Identifier: BSD-2-Clause
//! The table, held against what libtpms says of its commands and against what it
//! does with them.

use std::time::Duration;

use super::super::*;
use crate::Tcti;
use crate::wire::{
    Blamed, CapabilityView, CommandBuilder, Handle, ResponseCode, ResponseView, SessionAttributes,
    capability,
};

/// TPM_RC_ATTRIBUTES of the first session.
const ATTRIBUTES_S1: ResponseCode = ResponseCode::ATTRIBUTES.blaming(Blamed::Session(1));

/// A TPM with one of each that a handle can name.
struct Tpm {
    tcti: Box<dyn Tcti>,
    object: Handle,
    hmac_session: Handle,
    policy_session: Handle,
    nv_index: Handle,
}

fn run(tcti: &mut dyn Tcti, command: &[u8]) -> Vec<u8> {
    tcti.transmit(command).expect("a TPM");
    let mut response = vec![0; 4096];
    let timeout = Some(Duration::from_secs(60));
    let size = tcti.receive(&mut response, timeout).expect("a response");
    response.truncate(size);
    response
}

/// Runs a command that must succeed, and returns the handle that it made.
fn made(tcti: &mut dyn Tcti, code: CommandCode, builder: CommandBuilder) -> Handle {
    let response = run(tcti, &builder.build());
    let view = ResponseView::parse(&response, Command::of(code)).expect("well formed");
    assert!(view.is_success(), "{code}: {}", view.code());
    view.handle().unwrap_or(Handle::NULL)
}

/// A storage key of the null hierarchy: ECC P-256, AES-128-CFB.
fn storage_key() -> CommandBuilder {
    let public = [
        0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0,
        0, 0,
    ];
    CommandBuilder::new(CommandCode::CREATE_PRIMARY)
        .handle(Handle::NULL)
        .empty_password()
        .sized(&[0; 4])
        .and_then(|builder| builder.sized(&public))
        .expect("short buffers")
        .u16(0)
        .u32(0)
}

fn start_auth_session(session_type: u8) -> CommandBuilder {
    CommandBuilder::new(CommandCode::START_AUTH_SESSION)
        .handle(Handle::NULL)
        .handle(Handle::NULL)
        .sized(&[7; 16])
        .expect("a short nonce")
        .u16(0)
        .u8(session_type)
        .bytes(&[0, 6, 0, 128, 0, 0x43, 0, 0x0b])
}

fn nv_define_space(index: Handle) -> CommandBuilder {
    let mut public = index.0.to_be_bytes().to_vec();
    public.extend_from_slice(&[0, 0x0b, 0, 6, 0, 6, 0, 0, 0, 8]);
    CommandBuilder::new(CommandCode::NV_DEFINE_SPACE)
        .handle(Handle::OWNER)
        .empty_password()
        .u16(0)
        .sized(&public)
        .expect("a short public area")
}

impl Tpm {
    fn new() -> Self {
        let mut tcti = crate::open("libtpms").expect("libtpms (Debian's package libtpms0)");
        let tpm = &mut *tcti;
        let nv_index = Handle(0x0150_0000);
        made(tpm, CommandCode::NV_DEFINE_SPACE, nv_define_space(nv_index));
        let session = CommandCode::START_AUTH_SESSION;
        Self {
            object: made(tpm, CommandCode::CREATE_PRIMARY, storage_key()),
            hmac_session: made(tpm, session, start_auth_session(0)),
            policy_session: made(tpm, session, start_auth_session(1)),
            nv_index,
            tcti,
        }
    }

    fn answer(&mut self, builder: CommandBuilder) -> ResponseCode {
        let response = run(&mut *self.tcti, &builder.build());
        ResponseView::parse(&response, None)
            .expect("a response")
            .code()
    }

    fn attributes(&mut self) -> Vec<u32> {
        let command = CommandBuilder::get_capability(capability::COMMANDS, 0, 254).build();
        let response = run(&mut *self.tcti, &command);
        let info = Command::of(CommandCode::GET_CAPABILITY);
        let view = ResponseView::parse(&response, info).expect("well formed");
        let list = CapabilityView::parse(&view).expect("a list");
        assert!(!list.has_more());
        list.commands().collect()
    }

    /// The commands that libtpms has.
    fn commands(&mut self) -> Vec<&'static Command> {
        let codes = self.attributes().into_iter();
        let codes = codes.map(|attributes| CommandCode(attributes & 0x2000_ffff));
        codes
            .map(|code| Command::of(code).unwrap_or_else(|| panic!("{code} is missing")))
            .collect()
    }

    /// Handles that libtpms takes for a command, whose authorizations come later.
    fn with_handles(&mut self, command: &Command) -> CommandBuilder {
        let hierarchies = [
            Handle::PLATFORM,
            Handle::OWNER,
            Handle::ENDORSEMENT,
            Handle::LOCKOUT,
        ];
        let mut refusals = Vec::new();
        for hierarchy in hierarchies {
            let mut builder = CommandBuilder::new(command.code);
            for handle in command.handles {
                builder = builder.handle(match handle.kind {
                    HandleKind::Hierarchy => hierarchy,
                    HandleKind::Object | HandleKind::Parent | HandleKind::Context => self.object,
                    HandleKind::Entity | HandleKind::NvAuth => Handle::OWNER,
                    HandleKind::Pcr => Handle(16),
                    HandleKind::NvIndex => self.nv_index,
                    HandleKind::HmacSession => self.hmac_session,
                    HandleKind::PolicySession | HandleKind::Session => self.policy_session,
                    HandleKind::Act => Handle::ACT_0,
                    HandleKind::AttachedComponent => Handle::AC_FIRST,
                });
            }
            // With a session that has a reserved attribute, no command runs.
            let reserved = SessionAttributes(0x19);
            let probe = builder.clone().auth(self.hmac_session, &[], reserved, &[]);
            let answer = self.answer(probe.expect("short buffers"));
            if !matches!(answer.blamed(), Some(Blamed::Handle(_))) {
                return builder;
            }
            refusals.push(format!("{answer}"));
        }
        panic!(
            "{}: no handles that libtpms takes: {refusals:?}",
            command.name
        );
    }
}

#[test]
fn the_table_says_of_each_command_what_libtpms_says_of_it() {
    let listed = Tpm::new().attributes();
    assert!(listed.len() > 90, "{} commands", listed.len());
    for attributes in listed {
        let code = CommandCode(attributes & 0x2000_ffff);
        let command = Command::of(code).unwrap_or_else(|| panic!("{code} is missing"));
        assert_eq!(
            format!("{:08x}", command.attributes()),
            format!("{attributes:08x}"),
            "{code}"
        );
    }
}

#[test]
fn a_command_wants_as_many_authorizations_of_libtpms_as_the_table_says() {
    let mut tpm = Tpm::new();
    for command in tpm.commands() {
        if command.no_sessions {
            continue;
        }
        let mut builder = tpm.with_handles(command);
        for _ in 0..command.authorizations() {
            let answer = tpm.answer(builder.clone());
            assert_eq!(answer, ResponseCode::AUTH_MISSING, "{}", command.name);
            // A wrong one, so that the command is not run in the end.
            let wrong = b"none has this";
            let none = SessionAttributes::NONE;
            builder = builder
                .auth(Handle::RS_PW, &[], none, wrong)
                .expect("short");
        }
        if command.authorizations() > 0 {
            assert_ne!(
                tpm.answer(builder),
                ResponseCode::AUTH_MISSING,
                "{}",
                command.name
            );
        } else {
            let cut = builder.auth(tpm.hmac_session, &[], SessionAttributes::NONE, &[]);
            let answer = tpm.answer(cut.expect("short buffers"));
            assert_ne!(answer, ResponseCode::AUTH_MISSING, "{}", command.name);
            tpm = Tpm::new();
        }
    }
}

#[test]
fn a_session_decrypts_and_encrypts_for_libtpms_where_the_table_says() {
    let mut tpm = Tpm::new();
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
            let wrong_hmac = [0; 32];
            let command_ = builder.clone();
            let session = command_.auth(tpm.hmac_session, &[7; 16], attributes, &wrong_hmac);
            let answer = tpm.answer(session.expect("short buffers"));
            let refused = answer == ATTRIBUTES_S1;
            assert_eq!(!refused, allowed, "{} {attribute}: {answer}", command.name);
        }
    }
}

#[test]
fn a_command_refuses_sessions_of_libtpms_where_the_table_says() {
    let mut tpm = Tpm::new();
    for command in tpm.commands() {
        let builder = match command.no_sessions {
            true => CommandBuilder::new(command.code),
            false => tpm.with_handles(command),
        };
        let builder = match command.code {
            CommandCode::CONTEXT_SAVE => builder.handle(tpm.object),
            // The TPM has had one, and says so whatever else is wrong.
            CommandCode::STARTUP => continue,
            _ => builder,
        };
        let reserved = SessionAttributes(0x19);
        let session = builder.auth(tpm.hmac_session, &[], reserved, &[]);
        let answer = tpm.answer(session.expect("short buffers"));
        assert_eq!(
            answer == ResponseCode::AUTH_CONTEXT,
            command.no_sessions,
            "{}: {answer}",
            command.name
        );
    }
}
