// SPDX-License-Identifier: BSD-2-Clause
//! A command and its response as a line. Earlier exchanges provide the names of
//! handles.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fields::{Fields, Hex};
use super::schema::{Parameter, parameters};
use super::structures::Reader;
use crate::Error;
use crate::sys::deadline::milliseconds;
use crate::wire::cursor::Cursor;
use crate::wire::{
    Command, CommandCode, CommandView, Flushes, Handle, Header, ResponseView, SessionAttributes,
};

/// How exchanges are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Style {
    /// Whether each field has its own line.
    pub verbose: bool,
    /// Whether authorization values, sensitive areas, unsealed data, data that may
    /// be secret and random bytes are shown.
    pub secrets: bool,
    /// Whether names and failures are coloured, as on a terminal.
    pub colours: bool,
}

/// Decodes the exchanges with one TPM, in order.
///
/// ```
/// use std::time::Duration;
///
/// use rusttcti::layer::trace::{Decoder, Style};
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// let mut decoder = Decoder::new(Style::default());
/// let command = CommandBuilder::new(CommandCode::GET_RANDOM).u16(2).build();
/// let response = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0, 2, 0xab, 0xcd];
/// let line = decoder.exchange(&command, &response, Some(Duration::from_micros(250)));
/// assert_eq!(
///     line,
///     "TPM2_GetRandom(bytesRequested=2) = TPM_RC_SUCCESS, \
///      randomBytes=<hidden, 2 bytes> (0.250 ms)"
/// );
/// ```
#[derive(Debug)]
pub struct Decoder {
    style: Style,
    /// The objects that were made or loaded, each as text.
    objects: BTreeMap<u32, String>,
    /// Saved contexts of these objects.
    contexts: Arc<Mutex<Contexts>>,
}

/// The saved contexts by their hash, each with its object as text, the newest last.
type Contexts = VecDeque<(u64, String)>;

/// The number of saved contexts that are remembered.
const CONTEXTS: usize = 1024;

impl Decoder {
    /// Returns a state without any known handle.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            objects: BTreeMap::new(),
            contexts: Arc::default(),
        }
    }

    /// Returns a decoder for another conversation, with the same TPM. Each of the two
    /// knows the objects again whose contexts were saved in the other.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            style: self.style,
            objects: BTreeMap::new(),
            contexts: self.contexts.clone(),
        }
    }

    fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the line of a command and its response, without a newline at its
    /// end. Bytes that cannot be decoded are shown as they are.
    pub fn exchange(&mut self, command: &[u8], response: &[u8], took: Option<Duration>) -> String {
        let shown = self.command(command);
        let code = Header::parse(command).map_or(CommandCode(0), |header| CommandCode(header.code));
        let answer = self.response(command, code, response);
        format!("{shown} = {answer}{}", time(took))
    }

    /// Returns the line of a command that got no response.
    pub fn failure(&mut self, command: &[u8], error: &Error, took: Option<Duration>) -> String {
        let told = self.coloured(RED, &format!("no response: {}", error.report()));
        format!("{} = {told}{}", self.command(command), time(took))
    }

    /// Returns the line of a command whose response is not known.
    pub fn unanswered(&self, command: &[u8]) -> String {
        format!("{} = no response", self.command(command))
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        match self.style.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Returns a handle as text, with the known facts about it.
    fn handle(&self, handle: Handle) -> String {
        match self.objects.get(&handle.0) {
            Some(known) => format!("{handle} [{known}]"),
            None => handle.to_string(),
        }
    }

    fn command(&self, bytes: &[u8]) -> String {
        let view = match CommandView::parse(bytes) {
            Ok(view) => view,
            Err(_) => return self.unparsed(bytes),
        };
        let name = match view.info() {
            Some(info) => format!("TPM2_{}", info.name),
            None => format!("command {}", view.code()),
        };
        let mut fields = Fields::new(self.style.verbose);
        let handles: Vec<_> = view.handles().collect();
        for handle in &handles {
            let text = self.handle(handle.handle);
            match self.style.verbose {
                true => fields.field(handle.info.name, text),
                false => fields.value(text),
            }
        }
        let encrypted = view
            .auths()
            .any(|auth| auth.attributes.contains(SessionAttributes::DECRYPT));
        let body = self.body(fields, &view, encrypted);
        let sessions = self.sessions(&view);
        format!("{}({body}){sessions}", self.coloured(BOLD, &name))
    }

    /// Returns a malformed command as text, as far as it can be read.
    fn unparsed(&self, bytes: &[u8]) -> String {
        let name = Header::parse(bytes).map(|header| CommandCode(header.code));
        match name {
            Some(code) => format!("TPM2_{code}(<cut, {} bytes>)", bytes.len()),
            None => format!("<{} bytes that are not a command>", bytes.len()),
        }
    }

    fn body(&self, mut fields: Fields, view: &CommandView<'_>, encrypted: bool) -> String {
        let bytes = view.parameters();
        let known = view.info().and_then(|info| parameters(info.code));
        let Some((command, _)) = known else {
            if !bytes.is_empty() {
                fields.field("parameters", self.raw(bytes));
            }
            return fields.finish();
        };
        self.decode(fields, bytes, command, encrypted).0
    }

    /// Writes parameters behind `fields`; their text, and the public area among
    /// them in few words.
    fn decode(
        &self,
        fields: Fields,
        bytes: &[u8],
        parameters: &[Parameter],
        encrypted: bool,
    ) -> (String, Option<String>) {
        let mut reader = Reader {
            cursor: Cursor::new(bytes, 0),
            fields,
            secrets: self.style.secrets,
            summary: None,
        };
        let done = reader.parameters(parameters, encrypted);
        match (done, bytes.len() - reader.cursor.offset()) {
            (None, _) => reader.fields.value("<cut>"),
            (Some(()), 0) => {}
            (Some(()), rest) => reader.fields.value(format_args!("<{rest} bytes more>")),
        }
        (reader.fields.finish(), reader.summary)
    }

    /// Bytes of an unknown type, which may be secrets.
    fn raw(&self, bytes: &[u8]) -> String {
        match self.style.secrets {
            true => Hex(bytes).to_string(),
            false => format!("<{} bytes>", bytes.len()),
        }
    }

    fn sessions(&self, view: &CommandView<'_>) -> String {
        let sessions: Vec<String> = view
            .auths()
            .map(|auth| {
                if auth.handle == Handle::RS_PW {
                    return match (auth.hmac, self.style.secrets) {
                        ([], _) => "empty password".to_owned(),
                        (password, true) => format!("password {}", Hex(password)),
                        (_, false) => "password".to_owned(),
                    };
                }
                let kind = match auth.handle.0 >> 24 {
                    2 => "hmac",
                    3 => "policy",
                    _ => "session",
                };
                format!("{kind} {} {}", auth.handle, auth.attributes)
            })
            .collect();
        match sessions.is_empty() {
            true => String::new(),
            false => format!(" [{}]", sessions.join("; ")),
        }
    }

    fn response(&mut self, command: &[u8], code: CommandCode, bytes: &[u8]) -> String {
        let info = Command::of(code);
        let view = match ResponseView::parse(bytes, info) {
            Ok(view) => view,
            Err(error) => {
                let told = format!("<malformed: {}>", error.report());
                return self.coloured(RED, &told);
            }
        };
        if !view.is_success() {
            return self.coloured(RED, &format!("{:#}", view.code()));
        }
        let mut fields = Fields::new(self.style.verbose);
        fields.value(view.code());
        let known = info.and_then(|info| parameters(info.code));
        let encrypted = view
            .auths()
            .any(|auth| auth.attributes.contains(SessionAttributes::ENCRYPT));
        let written = Fields::new(self.style.verbose);
        let (written, summary) = match known {
            Some((_, response)) => self.decode(written, view.parameters(), response, encrypted),
            None if view.parameters().is_empty() => (String::new(), None),
            None => (format!("parameters={}", self.raw(view.parameters())), None),
        };
        if let Some(handle) = view.handle() {
            self.remember(command, handle, summary);
            let text = self.handle(handle);
            fields.field("handle", text);
        }
        if code == CommandCode::CONTEXT_SAVE {
            self.save(command, view.parameters());
        }
        self.forget(command, info);
        let separator = if self.style.verbose || written.is_empty() {
            ""
        } else {
            ", "
        };
        format!("{}{separator}{written}", fields.finish().trim_start())
    }

    /// Keeps what is known of a handle that a response gave.
    fn remember(&mut self, command: &[u8], handle: Handle, summary: Option<String>) {
        if !handle.is_transient() {
            return;
        }
        let from_command = || {
            // TPM2_Load has the public area in the command.
            let view = CommandView::parse(command).ok()?;
            if view.code() == CommandCode::CONTEXT_LOAD {
                return self.saved(view.parameters());
            }
            let (parameters, _) = parameters(view.code())?;
            let unused = Fields::new(false);
            self.decode(unused, view.parameters(), parameters, false).1
        };
        match summary.or_else(from_command) {
            Some(known) => self.objects.insert(handle.0, known),
            None => self.objects.remove(&handle.0),
        };
    }

    /// Keeps what is known of an object for the time when its context is loaded.
    fn save(&self, command: &[u8], context: &[u8]) {
        let handle = CommandView::parse(command)
            .ok()
            .and_then(|view| view.handle(0));
        if let Some(known) = handle.and_then(|handle| self.objects.get(&handle.0)) {
            let mut contexts = self.contexts();
            if contexts.len() == CONTEXTS {
                contexts.pop_front();
            }
            contexts.push_back((hash(context), known.clone()));
        }
    }

    /// Returns what is known of the object in a saved context.
    fn saved(&self, context: &[u8]) -> Option<String> {
        let wanted = hash(context);
        let contexts = self.contexts();
        let mut newest = contexts.iter().rev();
        let found = newest.find(|(hash, _)| *hash == wanted);
        found.map(|(_, known)| known.clone())
    }

    /// Forgets what a command that succeeded flushed.
    fn forget(&mut self, command: &[u8], info: Option<&'static Command>) {
        let Ok(view) = CommandView::parse(command) else {
            return;
        };
        match info.map(|info| info.flushes) {
            Some(Flushes::Parameter) => {
                if let Some(handle) = view.flushed_parameter() {
                    self.objects.remove(&handle.0);
                }
            }
            Some(Flushes::Handle(number)) => {
                if let Some(handle) = view.handle(number) {
                    self.objects.remove(&handle.0);
                }
            }
            Some(Flushes::Hierarchy | Flushes::Loaded) => self.objects.clear(),
            _ => {}
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

const BOLD: &str = "1";
const RED: &str = "31";

fn time(took: Option<Duration>) -> String {
    match took {
        Some(took) => format!(" ({})", milliseconds(took)),
        None => String::new(),
    }
}
