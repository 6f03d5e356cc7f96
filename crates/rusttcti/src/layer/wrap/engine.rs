// SPDX-License-Identifier: BSD-2-Clause
//! The layer's state, and the way of one command of the program's through it.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::command::{self, Command, Response};
use super::crypto::Secret;
use super::key::SaltKey;
use super::line::Line;
use super::names::{HandleType, Names, from_public_response};
use super::options::Settings;
use super::program_sessions::ProgramSessions;
use super::protect::Plan;
use super::session::Session;
use crate::wire::cursor::Cursor;
use crate::wire::{self, CommandCode, Header, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// The longest command that TPMs and the kernel take.
pub(super) const LONGEST: usize = 4096;

/// The reason why the steps for a command end early.
pub(super) enum Stop {
    /// The program is answered with this response code.
    Answer(ResponseCode),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The result of a step.
pub(super) type Flow<T> = std::result::Result<T, Stop>;

/// The next step after a failure that the TPM reported.
pub(super) enum Next {
    /// The command is built and sent once more.
    Again,
    /// The program is answered with this response code.
    Answer(ResponseCode),
}

/// The layer's state.
pub(super) struct Engine {
    pub(super) settings: Settings,
    /// The key of the first session, which all later ones must have.
    pub(super) key: Option<SaltKey>,
    /// The saved context of the null hierarchy's primary.
    pub(super) primary: Option<Vec<u8>>,
    /// The layer's own sessions.
    pub(super) ours: Vec<Session>,
    /// The layer's sessions that ended, and may still be loaded in the TPM.
    pub(super) stale: Vec<u32>,
    /// The program's sessions that were moved aside, with their contexts: the
    /// layer's have their places for the moment.
    pub(super) aside: Vec<(u32, Vec<u8>)>,
    pub(super) names: Names,
    pub(super) program_sessions: ProgramSessions,
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
            program_sessions: ProgramSessions::default(),
            told: HashSet::new(),
        }
    }

    /// Forgets everything except the salt key, after a power cycle or a fork.
    pub(super) fn forget(&mut self) {
        self.ours.clear();
        self.stale.clear();
        self.aside.clear();
        self.names.clear();
        self.program_sessions.clear();
    }

    /// Runs a command of the program's, and returns the response for it.
    ///
    /// # Errors
    /// Those of the TCTI below; [`ErrorKind::IoError`] for a response that was not
    /// made by this TPM for this command; [`ErrorKind::NotPermitted`] for a command
    /// that `strict=1` refuses.
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
            // The command is malformed, or lacks an authorization. A TPM refuses it, so
            // a success is not the TPM's.
            _ => {
                let response = line.run_programs(bytes.clone()).await?;
                match code_of(&response)? {
                    ResponseCode::SUCCESS => Err(forged(
                        "a command that no TPM accepts was answered with success",
                    )
                    .into()),
                    code => Err(Stop::Answer(code)),
                }
            }
        }
    }

    /// Sends a command unchanged, and notes its effects.
    pub(super) async fn pass(&mut self, command: &Command, line: &Line) -> Flow<Secret> {
        for auth in &command.auths {
            self.check_unchanged(auth)?;
        }
        let (sent, loaded) = self.unwrapped(command);
        let mut response = line.run_programs(sent.clone()).await?;
        let full = code_of(&response)? == ResponseCode::SESSION_MEMORY && !self.ours.is_empty();
        // The command goes as it did before: no protection is given up.
        if full
            && matches!(
                command.code,
                CommandCode::CONTEXT_LOAD | CommandCode::START_AUTH_SESSION
            )
        {
            self.make_way(line).await?;
            response = line.run_programs(sent).await?;
        }
        match code_of(&response)? {
            ResponseCode::SUCCESS => {}
            code => return Err(Stop::Answer(code)),
        }
        let parsed = Response::parse(&response, command.code, command.auths.len())
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
        if let (Some(program_session), Some(handle)) = (loaded, parsed.handle) {
            self.program_sessions.set(handle, program_session);
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
        if self.is_for_the_view_below(&command) {
            self.tell(
                "the layer rm below answers it, and cannot do so under an HMAC of the TPM's",
            )?;
            return self.pass(&command, line).await;
        }
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
                return Err(Stop::Answer(ResponseCode::CANCELED));
            }
            for session in self.ours.iter_mut().take(plan.sessions()) {
                session.in_flight = true;
            }
            let response = match full(line.run_programs(sent.bytes.clone()).await, &command) {
                Some(response) => response?,
                None => {
                    // The TPM ran it, and rolled the nonce of the layer's session.
                    self.make_way(line).await?;
                    command::refusal(ResponseCode::SESSION_MEMORY)
                }
            };
            let code = code_of(&response)?;
            if code.is_success() {
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

    /// Reads the Names that a command needs and the layer does not know yet.
    async fn learn_names(&mut self, command: &Command, line: &Line) -> Flow<()> {
        for handle in command.handles.clone() {
            if self.names.get(handle).is_none() {
                self.read_name(handle, line).await?;
            }
        }
        Ok(())
    }

    /// Reads the Name of an object or an NV index. A failure is ignored: the TPM
    /// refuses an unknown handle before it looks at sessions, and never accepts an
    /// HMAC over a wrong Name.
    async fn read_name(&mut self, handle: u32, line: &Line) -> Flow<()> {
        let code = match HandleType::of(handle) {
            HandleType::NvIndex => CommandCode::NV_READ_PUBLIC,
            _ => CommandCode::READ_PUBLIC,
        };
        let response = line
            .run(command::plain(code, &handle.to_be_bytes()))
            .await?;
        match code_of(&response)? {
            ResponseCode::SUCCESS => {}
            // Sequence objects have the empty Name.
            ResponseCode::SEQUENCE => {
                self.names.set(handle, Vec::new());
                return Ok(());
            }
            code if is_transient_refusal(code) => return Err(Stop::Answer(code)),
            _ => return Ok(()),
        }
        let name = Response::parse(&response, code, 0)
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

    /// Reads again the Names that may have changed without the layer's knowledge,
    /// and returns whether one did. A transient object keeps its Name as long as it
    /// is loaded.
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

    /// Warns once that a command is not protected, and why.
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

    /// Warns of something once.
    pub(super) fn warn(&mut self, why: &'static str) {
        if self.told.insert(why) {
            crate::sys::log::warning!(
                "wrap: a command passes without the layer's full protection, because {why}"
            );
        }
    }

    /// Warns once that the layer's session has no place in the TPM. Whose sessions
    /// have the places cannot be known, so none of them is flushed.
    pub(super) fn warn_of_full_tpm(&mut self) {
        if self.told.insert("full") {
            crate::sys::log::warning!(
                "wrap: the TPM has no place for the layer's session. Other programs' sessions, or \
                 those that killed programs left, have the places, and are not this layer's to \
                 flush. Put the layer rm below this one (wrap,...:rm:...), with leftovers=flush if \
                 no other program uses the TPM; tpm2_flushcontext -l and -s flush what is loaded \
                 and saved"
            );
        }
    }
}

/// Returns `None` if the kernel's resource manager had no place for a session
/// (ENOMEM).
fn full(response: Result<Secret>, command: &Command) -> Option<Result<Secret>> {
    match &response {
        Err(error)
            if error.kind() == ErrorKind::Memory
                && command.code == CommandCode::START_AUTH_SESSION =>
        {
            None
        }
        _ => Some(response),
    }
}

/// The remedies that were tried for a command that the TPM refused.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Whether the Names were read again.
    pub(super) refreshed: bool,
    /// How many times new sessions were made.
    pub(super) renewed: usize,
}

/// Returns the response code.
///
/// # Errors
/// [`ErrorKind::MalformedResponse`] for bytes that are no response, or a failure
/// with more than a header.
pub(super) fn code_of(response: &[u8]) -> Result<ResponseCode> {
    match Header::parse(response) {
        Some(header)
            if Header::fits(response) && (header.code == 0 || response.len() == Header::SIZE) =>
        {
            Ok(ResponseCode(header.code))
        }
        _ => Err(Error::new(
            ErrorKind::MalformedResponse,
            "the layer wrap: the response is no TPM response",
        )),
    }
}

/// Returns whether a failure of one of the layer's own commands is one that the
/// program would get without the layer: the TPM is not started, busy, full, or in
/// failure mode.
pub(super) fn is_transient_refusal(code: ResponseCode) -> bool {
    let is_of_a_resource_manager = code.layer() != 0;
    let is_warning = code.is_warning() && code.blamed().is_none();
    let is_out_of_service = matches!(code, ResponseCode::INITIALIZE | ResponseCode::FAILURE);
    is_of_a_resource_manager || is_warning || is_out_of_service
}

/// Returns whether a response's handle, which no HMAC covers, has the type that the
/// command makes or loads.
pub(super) fn fits(command: &Command, handle: u32) -> bool {
    let saved = match command.code {
        CommandCode::CONTEXT_LOAD => {
            let mut reader = Cursor::new(&command.parameters, 0);
            reader.take(8).and_then(|_| reader.u32())
        }
        _ => None,
    };
    match saved.map(HandleType::of) {
        // A session keeps its handle.
        Some(HandleType::Session) => saved == Some(handle),
        _ if command.code == CommandCode::START_AUTH_SESSION => {
            HandleType::of(handle) == HandleType::Session
        }
        _ => HandleType::of(handle) == HandleType::Transient,
    }
}

/// Checks that one of the layer's own commands succeeded.
///
/// # Errors
/// Those of [`code_of`] and [`own_failure`].
pub(super) fn succeeded(what: &str, response: &[u8]) -> Flow<()> {
    match code_of(response)? {
        ResponseCode::SUCCESS => Ok(()),
        code => Err(own_failure(what, code)),
    }
}

/// Ends the steps because one of the layer's own commands failed. The program gets
/// the code if it would get it without the layer.
pub(super) fn own_failure(what: &str, code: ResponseCode) -> Stop {
    if is_transient_refusal(code) {
        return Stop::Answer(code);
    }
    Stop::Error(Error::new(
        ErrorKind::IoError,
        format!(
            "the layer wrap: {what} failed with the response code {:x}",
            code.0
        ),
    ))
}

/// Returns the error for a response that the TPM did not make for this command.
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
        "the response to {} is not of its form",
        command.code
    ))
}

/// Returns the error for a command that the layer does not handle.
pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::NotSupported, format!("the layer wrap: {what}"))
}
