// SPDX-License-Identifier: BSD-2-Clause
//! What the layer knows, and what becomes of one command of the program's.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::command::{self, Command, Response, cc};
use super::crypto::Secret;
use super::key::SaltKey;
use super::line::Line;
use super::names::{HandleType, Names, from_public_response};
use super::options::Settings;
use super::protect::Plan;
use super::session::Session;
use super::theirs::Theirs;
use crate::wire::cursor::Cursor;
use crate::wire::{self, CommandCode, Header};
use crate::{Error, ErrorKind, Result};

/// The longest command that is sent: what TPMs and the kernel take.
pub(super) const LONGEST: usize = 4096;

/// Response codes of the TPM (TPM_RC) that the layer answers to.
pub(super) mod rc {
    use crate::wire::ResponseCode;

    pub(crate) const INITIALIZE: u32 = ResponseCode::INITIALIZE.0;
    pub(crate) const FAILURE: u32 = ResponseCode::FAILURE.0;
    pub(crate) const SEQUENCE: u32 = ResponseCode::SEQUENCE.0;
    pub(crate) const AUTH_CONTEXT: u32 = ResponseCode::AUTH_CONTEXT.0;
    pub(crate) const ATTRIBUTES: u32 = ResponseCode::ATTRIBUTES.0;
    pub(crate) const HANDLE: u32 = ResponseCode::HANDLE.0;
    pub(crate) const AUTH_FAIL: u32 = ResponseCode::AUTH_FAIL.0;
    pub(crate) const NONCE: u32 = ResponseCode::NONCE.0;
    pub(crate) const BAD_AUTH: u32 = ResponseCode::BAD_AUTH.0;
    pub(crate) const OBJECT_MEMORY: u32 = ResponseCode::OBJECT_MEMORY.0;
    pub(crate) const SESSION_MEMORY: u32 = ResponseCode::SESSION_MEMORY.0;
    pub(crate) const CANCELED: u32 = ResponseCode::CANCELED.0;
    pub(crate) const REFERENCE_H0: u32 = ResponseCode::REFERENCE_H0.0;
    pub(crate) const REFERENCE_S0: u32 = ResponseCode::REFERENCE_S0.0;
}

/// Why the steps for a command end early.
pub(super) enum Stop {
    /// The program is answered with this response code.
    Answer(u32),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What a step returns.
pub(super) type Flow<T> = std::result::Result<T, Stop>;

/// What happens after a failure that the TPM reported.
pub(super) enum Next {
    /// The command is built and sent once more.
    Again,
    /// The program is answered with this response code.
    Answer(u32),
}

/// What the layer knows.
pub(super) struct Engine {
    pub(super) settings: Settings,
    /// The key of the first session, which all later ones must have.
    pub(super) key: Option<SaltKey>,
    /// The saved context of the null hierarchy's primary.
    pub(super) primary: Option<Vec<u8>>,
    /// The layer's own sessions.
    pub(super) ours: Vec<Session>,
    /// Sessions of ours that are over, and may still be loaded in the TPM.
    pub(super) stale: Vec<u32>,
    /// Sessions of the program's whose places ours have for the moment.
    pub(super) aside: Vec<(u32, Vec<u8>)>,
    pub(super) names: Names,
    pub(super) theirs: Theirs,
    told: HashSet<&'static str>,
}

impl Engine {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            key: None,
            primary: None,
            ours: Vec::new(),
            stale: Vec::new(),
            aside: Vec::new(),
            names: Names::default(),
            theirs: Theirs::default(),
            told: HashSet::new(),
        }
    }

    /// Forgets what a power cycle or a fork ends: everything but the salt key.
    pub(super) fn forget(&mut self) {
        self.ours.clear();
        self.stale.clear();
        self.aside.clear();
        self.names.clear();
        self.theirs.clear();
    }

    /// Runs a command of the program's, and returns the response for it.
    ///
    /// # Errors
    /// Those of the way to the TPM; [`ErrorKind::IoError`] for a response that was
    /// not made by this TPM for this command; [`ErrorKind::NotPermitted`] for a
    /// command that `strict=1` refuses.
    pub(super) async fn serve(&mut self, bytes: Secret, line: &Line) -> Result<Secret> {
        let outcome = self.dispatch(&bytes, line).await;
        self.bring_back(line).await;
        match outcome {
            Ok(response) => Ok(response),
            Err(Stop::Answer(code)) => Ok(command::refusal(code)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    async fn dispatch(&mut self, bytes: &Secret, line: &Line) -> Flow<Secret> {
        let Some(header) = Header::parse(bytes) else {
            return Err(unsupported("the command is shorter than a header").into());
        };
        let Some(shape) = wire::Command::of(CommandCode(header.code)) else {
            self.tell("its code is not in the layer's table of commands")?;
            let response = line.run_programs(bytes.clone()).await?;
            code_of(&response)?;
            return Ok(response);
        };
        let command = Command::parse(bytes, shape);
        let missing = |command: &Command| command.auths.len() < command.shape.authorizations();
        match command {
            Some(command) if shape.no_sessions => self.pass(&command, line).await,
            Some(command) if self.settings.skip.contains(&command.code) => {
                self.pass(&command, line).await
            }
            Some(command) if !missing(&command) => self.protect(command, line).await,
            // Malformed, or without an authorization that it needs: the TPM
            // refuses it, and what says otherwise is not the TPM.
            _ => {
                let response = line.run_programs(bytes.clone()).await?;
                match code_of(&response)? {
                    0 => Err(
                        forged("a command that no TPM accepts was answered with success").into(),
                    ),
                    code => Err(Stop::Answer(code)),
                }
            }
        }
    }

    /// Sends a command as it is, and follows what it changes.
    pub(super) async fn pass(&mut self, command: &Command, line: &Line) -> Flow<Secret> {
        let (sent, loaded) = self.unwrapped(command);
        let mut response = line.run_programs(sent.clone()).await?;
        let full = code_of(&response)? == rc::SESSION_MEMORY && !self.ours.is_empty();
        // The command goes as it did before: no protection is given up.
        if full && matches!(command.code, cc::CONTEXT_LOAD | cc::START_AUTH_SESSION) {
            self.make_way(line).await?;
            response = line.run_programs(sent).await?;
        }
        match code_of(&response)? {
            0 => {}
            code => return Err(Stop::Answer(code)),
        }
        let parsed = Response::parse(
            &response,
            command.shape.response_handle.is_some(),
            command.auths.len(),
        )
        .ok_or_else(|| malformed(command))?;
        for (auth, answered) in command.auths.iter().zip(&parsed.auths) {
            self.followed(auth.handle, answered.nonce, answered.attributes);
        }
        let encrypted = command
            .auths
            .iter()
            .any(|auth| auth.attributes & super::session::attribute::ENCRYPT != 0);
        if !parsed.handle.is_none_or(|handle| fits(command, handle)) {
            return Err(malformed(command).into());
        }
        let mut parameters = Secret::new(parsed.parameters.to_vec());
        self.took_effect(command, parsed.handle, &mut parameters, encrypted);
        self.passed(command);
        if let (Some(their), Some(handle)) = (loaded, parsed.handle) {
            self.theirs.set(handle, their);
        }
        Ok(Response::build(
            parsed.handle,
            &parameters,
            command.tagged,
            &parsed.auths,
        ))
    }

    /// Protects a command, sends it, and checks the response.
    async fn protect(&mut self, mut command: Command, line: &Line) -> Flow<Secret> {
        let rewritten = self.rewritten(&mut command)?;
        let mut tries = Tries::default();
        loop {
            self.learn_names(&command, line).await?;
            let Some(plan) = Plan::of(self, &command, &rewritten)? else {
                return self.pass(&command, line).await;
            };
            if plan.length() > LONGEST {
                self.tell("it has no room for a session")?;
                return self.pass(&command, line).await;
            }
            let needed = plan.needed(&command);
            self.ensure_sessions(plan.sessions(), &needed, line).await?;
            if plan.has_passwords() && !self.are_in_step(line).await? {
                continue;
            }
            let sent = plan.build(self, &command, &rewritten)?;
            if line.is_cancelled() {
                return Err(Stop::Answer(rc::CANCELED));
            }
            for session in self.ours.iter_mut().take(plan.sessions()) {
                session.in_flight = true;
            }
            let response = match full(line.run_programs(sent.bytes.clone()).await, &command) {
                Some(response) => response?,
                None => {
                    // The TPM ran it, and has rolled the nonce of the layer's session.
                    self.make_way(line).await?;
                    command::refusal(rc::SESSION_MEMORY)
                }
            };
            let code = code_of(&response)?;
            if code == 0 {
                return self.accept(&command, &rewritten, &plan, &sent, &response);
            }
            for session in &mut self.ours {
                session.doubtful |= std::mem::take(&mut session.in_flight);
            }
            match self
                .refused(code, &command, &plan, &mut tries, line)
                .await?
            {
                Next::Again => {}
                Next::Answer(code) => return Err(Stop::Answer(rewritten.numbered_back(code))),
            }
        }
    }

    /// Asks for the Names of what a command refers to that are not known yet.
    async fn learn_names(&mut self, command: &Command, line: &Line) -> Flow<()> {
        for handle in command.handles.clone() {
            if self.names.get(handle).is_none() {
                self.read_name(handle, line).await?;
            }
        }
        Ok(())
    }

    /// Asks for the Name of an object or an NV index. What has none keeps none:
    /// the TPM refuses the handle before it looks at sessions, and whatever else
    /// an answer says, no HMAC over a wrong Name is ever accepted.
    async fn read_name(&mut self, handle: u32, line: &Line) -> Flow<()> {
        let code = match HandleType::of(handle) {
            HandleType::NvIndex => cc::NV_READ_PUBLIC,
            _ => cc::READ_PUBLIC,
        };
        let response = line
            .run(command::plain(code, &handle.to_be_bytes()))
            .await?;
        match code_of(&response)? {
            0 => {}
            // Sequence objects have the empty Name.
            rc::SEQUENCE => {
                self.names.set(handle, Vec::new());
                return Ok(());
            }
            code if is_transient_refusal(code) => return Err(Stop::Answer(code)),
            _ => return Ok(()),
        }
        let name = Response::parse(&response, false, 0)
            .and_then(|response| from_public_response(handle, response.parameters));
        match name {
            Some((name, settled)) => {
                self.names.set_settled(handle, name, settled);
                Ok(())
            }
            None => Err(forged(&format!(
                "the public area of the handle {handle:08x} and its Name do not belong together"
            ))
            .into()),
        }
    }

    /// Reads the Names that may have changed without the layer's knowledge anew,
    /// and returns whether one did. A transient object keeps its Name for as long
    /// as it is loaded.
    pub(super) async fn refresh_names(&mut self, command: &Command, line: &Line) -> Flow<bool> {
        let mut changed = false;
        for handle in command.handles.clone() {
            let kind = HandleType::of(handle);
            if matches!(kind, HandleType::NvIndex | HandleType::Persistent) {
                let before = self.names.get(handle);
                self.names.forget(handle);
                self.read_name(handle, line).await?;
                changed |= before != self.names.get(handle);
            }
        }
        Ok(changed)
    }

    /// Tells, once, why a command is not protected.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] with `strict=1`.
    pub(super) fn tell(&mut self, why: &'static str) -> Result<()> {
        if self.settings.strict {
            return Err(Error::new(
                ErrorKind::NotPermitted,
                format!(
                    "the layer wrap refuses a command that it cannot protect, because {why} \
                     (strict=0 lets it pass)"
                ),
            ));
        }
        self.warn(why);
        Ok(())
    }

    /// Tells something once.
    pub(super) fn warn(&mut self, why: &'static str) {
        if self.told.insert(why) {
            crate::sys::log::warning!(
                "wrap: a command passes without the layer's full protection, because {why}"
            );
        }
    }
}

/// `None` where the kernel's resource manager had no place for a session, which
/// it says by ENOMEM.
fn full(response: Result<Secret>, command: &Command) -> Option<Result<Secret>> {
    match &response {
        Err(error)
            if error.kind() == ErrorKind::Memory && command.code == cc::START_AUTH_SESSION =>
        {
            None
        }
        _ => Some(response),
    }
}

/// What was tried for a command that the TPM refused.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Whether the Names were read anew.
    pub(super) refreshed: bool,
    /// How many times new sessions were made.
    pub(super) renewed: usize,
}

/// Returns the response code.
///
/// # Errors
/// [`ErrorKind::MalformedResponse`] for what is no response, or for a failure
/// with something behind it.
pub(super) fn code_of(response: &[u8]) -> Result<u32> {
    match Header::parse(response) {
        Some(header)
            if Header::fits(response) && (header.code == 0 || response.len() == Header::SIZE) =>
        {
            Ok(header.code)
        }
        _ => Err(Error::new(
            ErrorKind::MalformedResponse,
            "the layer wrap: the response is no TPM response",
        )),
    }
}

/// True for failures of the layer's own commands that the program would have
/// been answered with: the TPM is not started, busy, full, in failure mode.
pub(super) fn is_transient_refusal(code: u32) -> bool {
    let reference = (rc::REFERENCE_H0..rc::REFERENCE_S0 + 7).contains(&code);
    let warning = code & !0x7f == 0x900 && !reference;
    warning || code >= 0x1000 || matches!(code, rc::INITIALIZE | rc::FAILURE)
}

/// True where a response's handle, which no HMAC covers, is of the type that the
/// command makes or loads: one of another type would be another thing.
pub(super) fn fits(command: &Command, handle: u32) -> bool {
    let saved = match command.code {
        cc::CONTEXT_LOAD => {
            let mut reader = Cursor::new(&command.parameters, 0);
            reader.take(8).and_then(|_| reader.u32())
        }
        _ => None,
    };
    match saved.map(HandleType::of) {
        // A session keeps its handle.
        Some(HandleType::Session) => saved == Some(handle),
        _ if command.code == cc::START_AUTH_SESSION => {
            HandleType::of(handle) == HandleType::Session
        }
        _ => HandleType::of(handle) == HandleType::Transient,
    }
}

/// A command of the layer's own that failed: the program is told why if it would
/// have been told so without the layer.
pub(super) fn own_failure(what: &str, code: u32) -> Stop {
    if is_transient_refusal(code) {
        return Stop::Answer(code);
    }
    Stop::Error(Error::new(
        ErrorKind::IoError,
        format!("the layer wrap: {what} failed with the response code {code:x}"),
    ))
}

/// An error for a response that did not come from the TPM, or not for this
/// command.
pub(super) fn forged(what: &str) -> Error {
    Error::new(
        ErrorKind::IoError,
        format!(
            "the layer wrap: {what}: something between this program and its TPM changes what \
             passes, or is broken"
        ),
    )
}

pub(super) fn malformed(command: &Command) -> Error {
    forged(&format!(
        "the response to the command {:x} is not of its form",
        command.code
    ))
}

/// An error for what the layer does not do.
pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::NotSupported, format!("the layer wrap: {what}"))
}
