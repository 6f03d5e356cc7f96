// SPDX-License-Identifier: BSD-2-Clause
//! The lists of handles in GetCapability's responses: the layer reads them, and removes
//! its own sessions from those that the program gets.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::Command;
use super::crypto::Secret;
use super::engine::Engine;
use crate::wire::cursor::Cursor;
use crate::wire::{CapabilityView, CommandCode, Handle, HandleType, capability};

/// The most sessions that are hidden from the program.
const HIDDEN: u32 = 3;

/// The page of a list of handles that a program asks for.
#[derive(Clone, Copy)]
struct Page {
    first: u32,
    count: u32,
}

impl Page {
    /// Returns the page that a command asks for, if it is GetCapability for handles.
    /// With a session of the program's, command and response stay as they are.
    fn of(command: &Command) -> Option<Self> {
        if command.code != CommandCode::GET_CAPABILITY || !command.auths.is_empty() {
            return None;
        }
        let mut reader = Cursor::new(&command.parameters, 0);
        let (kind, first, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let asks = kind == capability::HANDLES && reader.is_at_end();
        asks.then_some(Self { first, count })
    }

    /// Returns the type of the handles. In these lists, the two types of sessions stand
    /// for loaded and for saved ones.
    fn handle_type(self) -> HandleType {
        Handle(self.first).handle_type()
    }

    fn is_of_sessions(self) -> bool {
        Handle(self.first).is_session()
    }

    /// Returns the parameters that ask for as many handles more as may be hidden.
    fn longer(self) -> Secret {
        request(self.first, self.count.saturating_add(HIDDEN))
    }

    /// Writes a list without the layer's own sessions. Sessions that were saved for
    /// the time of this command are shown as loaded.
    fn shown(self, parameters: &[u8], ours: &[u32], aside: &[u32]) -> Option<Secret> {
        let (mut handles, has_more) = handles(parameters)?;
        // A TPM orders sessions by their numbers, not by their types.
        let number = |handle: &u32| handle & 0xff_ffff;
        if self.handle_type() == HandleType::PolicySession {
            let is_aside = |handle: &u32| aside.iter().any(|other| number(other) == number(handle));
            handles.retain(|handle| !is_aside(handle));
        } else {
            handles.retain(|handle| !ours.contains(handle));
            let listed_up_to = handles.last().map(number);
            let is_within =
                |handle: &u32| !has_more || listed_up_to.is_some_and(|last| number(handle) <= last);
            let is_behind = |handle: &u32| number(handle) >= number(&self.first);
            let back = aside.iter().filter(|one| is_behind(one) && is_within(one));
            handles.extend(back);
        }
        handles.sort_by_key(number);
        let most = usize::try_from(self.count).unwrap_or(usize::MAX);
        let is_cut = handles.len() > most;
        handles.truncate(most);
        let mut shown = Secret::new(Vec::with_capacity(parameters.len()));
        shown.push(u8::from(has_more || is_cut));
        shown.put_u32(capability::HANDLES);
        shown.put_u32(handles.len() as u32);
        for handle in handles {
            shown.put_u32(handle);
        }
        Some(shown)
    }
}

/// Returns the parameters of a GetCapability that asks for handles.
pub(super) fn request(first: u32, count: u32) -> Secret {
    let mut parameters = Secret::new(Vec::with_capacity(12));
    for word in [capability::HANDLES, first, count] {
        parameters.put_u32(word);
    }
    parameters
}

/// Returns the handles in the parameters of GetCapability's response, and whether the
/// TPM has more; `None` for parameters that are no such list.
pub(super) fn handles(parameters: &[u8]) -> Option<(Vec<u32>, bool)> {
    let list = CapabilityView::of_parameters(parameters)?;
    let handles: Vec<u32> = list.handles().map(|handle| handle.0).collect();
    let is_list = list.capability() == capability::HANDLES;
    let is_whole = parameters.len() == 9 + 4 * handles.len();
    (is_list && is_whole).then(|| (handles, list.has_more()))
}

/// Returns the parameters with which a command that asks for sessions is sent, so
/// that enough are left when the layer's own are hidden.
pub(super) fn longer(command: &Command) -> Option<Secret> {
    let page = Page::of(command)?;
    page.is_of_sessions().then(|| page.longer())
}

impl Engine {
    /// Returns whether a layer below has its own view of the handles that a command
    /// asks for. It cannot show that view in a response with the TPM's HMAC.
    pub(super) fn is_for_the_view_below(&self, command: &Command) -> bool {
        let asks =
            |page: Page| page.is_of_sessions() || page.handle_type() == HandleType::Transient;
        self.settings.has_view_below && Page::of(command).is_some_and(asks)
    }

    /// Removes the layer's sessions from a list that the program asked for.
    pub(super) fn hide_sessions(&self, command: &Command, parameters: &mut Secret) {
        let Some(page) = Page::of(command).filter(|page| page.is_of_sessions()) else {
            return;
        };
        let ours = self.own_sessions.iter().map(|session| session.handle);
        let ours: Vec<u32> = ours.chain(self.ended_sessions.iter().copied()).collect();
        let aside: Vec<u32> = self.aside.iter().map(|(handle, _)| *handle).collect();
        if let Some(shown) = page.shown(parameters, &ours, &aside) {
            *parameters = shown;
        }
    }
}
