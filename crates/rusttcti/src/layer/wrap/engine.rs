// SPDX-License-Identifier: BSD-2-Clause
//! The layer's state, and the stages of one command of the program.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::command::{self, Command, Response, fits};
use super::crypto::Secret;
use super::exchange::Channel;
use super::failure::{Flow, Stop, code_of, forged, malformed, unsupported};
use super::key::SaltKey;
use super::names::Names;
use super::options::Settings;
use super::plan::Plan;
use super::program_sessions::ProgramSessions;
use super::refusal::{Next, Tries};
use super::session::Session;
use crate::wire::{self, CommandCode, Header, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// The longest command that TPMs and the kernel take.
pub(super) const LONGEST: usize = 4096;

/// The layer's state.
pub(super) struct Engine {
    pub(super) settings: Settings,
    /// The key of the first session, which all later ones must have.
    pub(super) key: Option<SaltKey>,
    /// The saved context of the null hierarchy's primary.
    pub(super) primary: Option<Vec<u8>>,
    /// The layer's own sessions.
    pub(super) own_sessions: Vec<Session>,
    /// The layer's sessions that ended, and may still be loaded in the TPM.
    pub(super) ended_sessions: Vec<u32>,
    /// The program's sessions that were moved aside, with their contexts: the
    /// layer's have their places for the moment.
    pub(super) aside: Vec<(u32, Vec<u8>)>,
    pub(super) names: Names,
    pub(super) program_sessions: ProgramSessions,
    warned: HashSet<&'static str>,
}

impl Engine {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            key: None,
            primary: None,
            own_sessions: Vec::new(),
            ended_sessions: Vec::new(),
            aside: Vec::new(),
            names: Names::default(),
            program_sessions: ProgramSessions::default(),
            warned: HashSet::new(),
        }
    }

    /// Forgets everything except the salt key, after a power cycle or a fork.
    pub(super) fn forget(&mut self) {
        self.own_sessions.clear();
        self.ended_sessions.clear();
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
    pub(super) async fn serve(&mut self, bytes: Secret, channel: &Channel) -> Result<Secret> {
        let outcome = self.dispatch(&bytes, channel).await;
        self.bring_back(channel).await;
        match outcome {
            Ok(response) => Ok(response),
            Err(Stop::Answer(code)) => Ok(command::refusal(code)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    async fn dispatch(&mut self, bytes: &Secret, channel: &Channel) -> Flow<Secret> {
        let Some(header) = Header::parse(bytes) else {
            return Err(unsupported("the command is shorter than a header").into());
        };
        let Some(shape) = wire::Command::of(CommandCode(header.code)) else {
            self.warn_or_refuse("its code is not in the layer's table of commands")?;
            let response = channel.execute_for_program(bytes.clone()).await?;
            code_of(&response)?;
            return Ok(response);
        };
        let command = Command::parse(bytes, shape);
        let missing = |command: &Command| command.auths.len() < command.shape.authorizations();
        match command {
            Some(command) if shape.no_sessions => self.pass(&command, channel).await,
            Some(command) if self.settings.skip.contains(&command.code) => {
                self.pass(&command, channel).await
            }
            Some(command) if !missing(&command) => self.protect(command, channel).await,
            // The command is malformed, or lacks an authorization. A TPM refuses it, so
            // a success is not the TPM's.
            _ => {
                let response = channel.execute_for_program(bytes.clone()).await?;
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
    pub(super) async fn pass(&mut self, command: &Command, channel: &Channel) -> Flow<Secret> {
        for at in 0..command.auths.len() {
            self.check_unchanged(command, at)?;
        }
        let (sent, loaded) = self.unwrapped(command);
        let mut response = channel.execute_for_program(sent.clone()).await?;
        let full =
            code_of(&response)? == ResponseCode::SESSION_MEMORY && !self.own_sessions.is_empty();
        // The command goes as it did before: no protection is given up.
        if full
            && matches!(
                command.code,
                CommandCode::CONTEXT_LOAD | CommandCode::START_AUTH_SESSION
            )
        {
            self.flush_own_sessions(channel).await?;
            response = channel.execute_for_program(sent).await?;
        }
        match code_of(&response)? {
            ResponseCode::SUCCESS => {}
            code => return Err(Stop::Answer(code)),
        }
        let parsed = Response::parse(&response, command.code, command.auths.len())
            .ok_or_else(|| malformed(command))?;
        for (auth, answered) in command.auths.iter().zip(&parsed.auths) {
            self.followed(auth.handle, auth.attributes, answered.nonce);
        }
        let encrypted = command
            .auths
            .iter()
            .any(|auth| auth.attributes & super::session::attribute::ENCRYPT != 0);
        if !parsed.handle.is_none_or(|handle| fits(command, handle)) {
            return Err(malformed(command).into());
        }
        self.check_new_session(command, parsed.handle)?;
        let mut parameters = Secret::new(parsed.parameters.to_vec());
        self.took_effect(command, parsed.handle, &mut parameters, encrypted)?;
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
    async fn protect(&mut self, command: Command, channel: &Channel) -> Flow<Secret> {
        if self.is_for_the_view_below(&command) {
            self.warn_or_refuse(
                "the layer rm below answers it, so the response has no HMAC of the TPM",
            )?;
            return self.pass(&command, channel).await;
        }
        let mut tries = Tries::default();
        loop {
            self.learn_names(&command, channel).await?;
            let rewritten = self.rewritten(&command)?;
            let Some(plan) = Plan::of(self, &command, &rewritten)? else {
                return self.pass(&command, channel).await;
            };
            if plan.length() > LONGEST {
                self.warn_or_refuse("it has no room for a session")?;
                return self.pass(&command, channel).await;
            }
            let needed = plan.needed(&command);
            self.ensure_sessions(plan.sessions(), &needed, channel)
                .await?;
            if plan.has_passwords() && !self.are_in_step(channel).await? {
                continue;
            }
            let sent = plan.build(self, &command, &rewritten)?;
            if channel.is_cancelled() {
                return Err(Stop::Answer(ResponseCode::CANCELED));
            }
            for session in self.own_sessions.iter_mut().take(plan.sessions()) {
                session.in_flight = true;
            }
            let response = match full(
                channel.execute_for_program(sent.bytes.clone()).await,
                &command,
            ) {
                Some(response) => response?,
                None => {
                    // The TPM ran it, and rolled the nonce of the layer's session.
                    self.flush_own_sessions(channel).await?;
                    command::refusal(ResponseCode::SESSION_MEMORY)
                }
            };
            let code = code_of(&response)?;
            if code.is_success() {
                return self.accept(&command, &rewritten, &plan, &sent, &response);
            }
            for session in &mut self.own_sessions {
                session.doubtful |= std::mem::take(&mut session.in_flight);
            }
            match self
                .refused(code, &command, &plan, &mut tries, channel)
                .await?
            {
                Next::Again => {}
                Next::Answer(code) => return Err(Stop::Answer(rewritten.numbered_back(code))),
            }
        }
    }

    /// Warns once that a command is not protected, and why.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] with `strict=1`.
    pub(super) fn warn_or_refuse(&mut self, why: &'static str) -> Result<()> {
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
        if self.warned.insert(why) {
            crate::sys::log::warning!(
                "wrap: a command passes without the layer's full protection, because {why}"
            );
        }
    }

    /// Warns once that the TPM has no room for the layer's session. The owners of the
    /// loaded sessions are unknown, so none of them is flushed.
    pub(super) fn warn_of_full_tpm(&mut self) {
        if self.warned.insert("full") {
            crate::sys::log::warning!(
                "wrap: the TPM has no room for the layer's session. Sessions of other programs, \
                 or of killed ones, fill it, and this layer does not flush them. Put the layer \
                 rm below this one (wrap,...:rm:...), with leftovers=flush if \
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
