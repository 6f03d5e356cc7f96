// SPDX-License-Identifier: BSD-2-Clause
//! A view of a command's bytes, by its parts.

#![forbid(unsafe_code)]

use super::auth::{AuthCommand, Auths};
use super::code::CommandCode;
use super::constants::tag;
use super::cursor::{Cursor, Subject};
use super::handle::Handle;
use super::header::Header;
use super::info::{Command, Flushes, HandleInfo};
use crate::Result;

/// A command's bytes, taken apart as Part 1, section 18 has them: header,
/// handles, authorization area, parameters. It borrows them and copies nothing.
///
/// ```
/// use rusttcti::wire::{CommandBuilder, CommandCode, CommandView, Handle, SessionAttributes};
///
/// let unseal = CommandBuilder::new(CommandCode::UNSEAL)
///     .handle(Handle(0x8000_0001))
///     .auth(Handle::RS_PW, &[], SessionAttributes::NONE, b"password")?
///     .build();
/// let view = CommandView::parse(&unseal)?;
/// assert_eq!(view.code(), CommandCode::UNSEAL);
///
/// let item = view.handles().next().expect("itemHandle");
/// assert_eq!((item.info.name, item.handle, item.offset), ("itemHandle", Handle(0x8000_0001), 10));
///
/// let auth = view.auths().next().expect("a password");
/// assert_eq!((auth.handle, auth.hmac), (Handle::RS_PW, &b"password"[..]));
/// assert!(view.parameters().is_empty());
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CommandView<'a> {
    bytes: &'a [u8],
    header: Header,
    info: Option<&'static Command>,
    /// The offset of the authorization area, behind its size.
    auths: usize,
    /// The offset of the parameters, at which the authorization area ends.
    parameters: usize,
}

/// A handle in a command's handle area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandleView {
    /// The handle.
    pub handle: Handle,
    /// The offset of its four bytes in the command.
    pub offset: usize,
    /// The specification's description of the handle.
    pub info: &'static HandleInfo,
}

impl<'a> CommandView<'a> {
    /// Takes a command apart.
    ///
    /// If the table doesn't have the command's code, all bytes after the header count
    /// as parameters, because the handles and sessions are unknown.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`](crate::ErrorKind::BadValue), with the part that is
    /// wrong, for fewer than ten bytes, for a size in the header that is not the
    /// number of bytes, for a tag that no command has, and for a handle or an
    /// authorization that is cut short. A TPM refuses such a command too: a layer
    /// that needs no view of it may pass it on.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = Subject::Command.header(bytes)?;
        let has_auths = match header.tag {
            tag::SESSIONS => true,
            tag::NO_SESSIONS => false,
            other => {
                return Err(Subject::Command.error(format!(
                    "has the tag 0x{other:04x} (it is 0x8001, or 0x8002 with sessions)"
                )));
            }
        };
        let info = Command::of(CommandCode(header.code));
        let mut view = Self {
            bytes,
            header,
            info,
            auths: Header::SIZE,
            parameters: Header::SIZE,
        };
        if let Some(info) = info {
            view.locate(info, has_auths)?;
        }
        Ok(view)
    }

    fn locate(&mut self, info: &Command, has_auths: bool) -> Result<()> {
        let mut cursor = Cursor::new(self.bytes, Header::SIZE);
        for handle in info.handles {
            let cut = || Subject::Command.cut(handle.name, self.bytes);
            cursor.u32().ok_or_else(cut)?;
        }
        if has_auths {
            let cut = || Subject::Command.cut("authorization area", self.bytes);
            let size = cursor.u32().ok_or_else(cut)?;
            self.auths = cursor.offset();
            cursor.take(size as usize).ok_or_else(cut)?;
        } else {
            self.auths = cursor.offset();
        }
        self.parameters = cursor.offset();
        self.auths().check().map_err(|number| {
            Subject::Command.error(format!(
                "has an authorization area that ends within authorization {}",
                number + 1
            ))
        })
    }

    /// Returns the whole command.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns its header.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// Returns its command code.
    pub const fn code(&self) -> CommandCode {
        CommandCode(self.header.code)
    }

    /// Returns the specification's description of the command, if the table has it.
    pub const fn info(&self) -> Option<&'static Command> {
        self.info
    }

    /// Returns whether the command has an authorization area (`TPM_ST_SESSIONS`).
    pub const fn has_auths(&self) -> bool {
        self.header.tag == tag::SESSIONS
    }

    /// Returns its handles, in order.
    pub fn handles(&self) -> impl Iterator<Item = HandleView> + use<'a> {
        let mut cursor = Cursor::new(self.bytes, Header::SIZE);
        let infos = self.info.map_or(&[][..], |info| info.handles);
        infos.iter().filter_map(move |info| {
            let offset = cursor.offset();
            Some(HandleView {
                handle: Handle(cursor.u32()?),
                offset,
                info,
            })
        })
    }

    /// Returns the handle with a number, from 0.
    pub fn handle(&self, number: usize) -> Option<Handle> {
        self.handles().nth(number).map(|view| view.handle)
    }

    /// Returns the sessions of its authorization area, in order; none of a
    /// command that the table doesn't have.
    pub fn auths(&self) -> Auths<'a, AuthCommand<'a>> {
        let area = self.bytes.get(..self.parameters).unwrap_or_default();
        Auths::of_command(Cursor::new(area, self.auths))
    }

    /// Returns the authorization area, without its size.
    pub fn auth_area(&self) -> &'a [u8] {
        self.bytes
            .get(self.auths..self.parameters)
            .unwrap_or_default()
    }

    /// Returns the offset of the authorization area in the command, behind its
    /// size; where it would begin, in a command without one.
    pub const fn auth_area_offset(&self) -> usize {
        self.auths
    }

    /// Returns its parameters; all behind the header, of a command that the
    /// table doesn't have.
    pub fn parameters(&self) -> &'a [u8] {
        self.bytes.get(self.parameters..).unwrap_or_default()
    }

    /// Returns the offset of the parameters in the command.
    pub const fn parameters_offset(&self) -> usize {
        self.parameters
    }

    /// Returns the handle that TPM2_FlushContext has as its parameter, whose
    /// offset is that of the [parameters](Self::parameters_offset).
    pub fn flushed_parameter(&self) -> Option<Handle> {
        match self.info?.flushes {
            Flushes::Parameter => Cursor::new(self.bytes, self.parameters).u32().map(Handle),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
