// SPDX-License-Identifier: BSD-2-Clause
//! TPMs with one entity of each kind that a handle can name.

use std::time::Duration;

use rusttcti::Tcti;
use rusttcti::wire::{
    Blamed, CapabilityView, Command, CommandBuilder, CommandCode, Handle, HandleKind, ResponseCode,
    ResponseView, SessionAttributes, capability, session_type,
};
use rusttcti_kit::swtpm::Swtpm;

/// A TPM with one of each that a handle can name.
pub struct Tpm {
    tcti: Box<dyn Tcti>,
    /// Its process, if it has one.
    _swtpm: Option<Swtpm>,
    pub object: Handle,
    pub hmac_session: Handle,
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
    /// Both of them, by name.
    pub fn all() -> [(&'static str, Self); 2] {
        let libtpms = rusttcti::open("libtpms").expect("libtpms (Debian's package libtpms0)");
        let server = Swtpm::unix();
        let chain = format!("swtpm:{}", server.conf());
        let swtpm = rusttcti::open(&chain).expect("swtpm (Debian's package swtpm)");
        [
            ("libtpms", Self::new(libtpms, None)),
            ("swtpm", Self::new(swtpm, Some(server))),
        ]
    }

    fn new(mut tcti: Box<dyn Tcti>, server: Option<Swtpm>) -> Self {
        let tpm = &mut *tcti;
        let nv_index = Handle(0x0150_0000);
        made(tpm, CommandCode::NV_DEFINE_SPACE, nv_define_space(nv_index));
        let session = CommandCode::START_AUTH_SESSION;
        Self {
            object: made(tpm, CommandCode::CREATE_PRIMARY, storage_key()),
            hmac_session: made(tpm, session, start_auth_session(session_type::HMAC)),
            policy_session: made(tpm, session, start_auth_session(session_type::POLICY)),
            nv_index,
            _swtpm: server,
            tcti,
        }
    }

    pub fn answer(&mut self, builder: CommandBuilder) -> ResponseCode {
        let response = run(&mut *self.tcti, &builder.build());
        ResponseView::parse(&response, None)
            .expect("a response")
            .code()
    }

    pub fn attributes(&mut self) -> Vec<u32> {
        let command = CommandBuilder::get_capability(capability::COMMANDS, 0, 254).build();
        let response = run(&mut *self.tcti, &command);
        let info = Command::of(CommandCode::GET_CAPABILITY);
        let view = ResponseView::parse(&response, info).expect("well formed");
        let list = CapabilityView::parse(&view).expect("a list");
        assert!(!list.has_more());
        list.commands().collect()
    }

    /// The commands that the TPM has.
    pub fn commands(&mut self) -> Vec<&'static Command> {
        let codes = self.attributes().into_iter();
        let codes = codes.map(|attributes| CommandCode(attributes & 0x2000_ffff));
        codes
            .map(|code| Command::of(code).unwrap_or_else(|| panic!("{code} is missing")))
            .collect()
    }

    /// Handles that the TPM takes for a command, whose authorizations come later.
    pub fn with_handles(&mut self, command: &Command) -> CommandBuilder {
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
                    kind => panic!("{kind:?}: which handle is one?"),
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
            "{}: no handles that the TPM takes: {refusals:?}",
            command.name
        );
    }
}
