// SPDX-License-Identifier: BSD-2-Clause
//! A view of a response's bytes, by its parts.

#![forbid(unsafe_code)]

use super::auth::{AuthResponse, Auths};
use super::constants::tag;
use super::cursor::{Cursor, Subject};
use super::handle::Handle;
use super::header::Header;
use super::info::Command;
use super::rc::ResponseCode;
use crate::Result;

/// A response's bytes, taken apart as Part 1, section 18 has them: header, a
/// handle for some commands, parameters, authorization area. It borrows them
/// and copies nothing.
///
/// ```
/// use rusttcti::wire::{Command, CommandCode, ResponseView};
///
/// let bytes = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0, 2, 0xab, 0xcd];
/// let view = ResponseView::parse(&bytes, Command::of(CommandCode::GET_RANDOM))?;
/// assert!(view.is_success());
/// assert_eq!(view.parameters(), [0, 2, 0xab, 0xcd]);
///
/// // A response cannot be told from its bytes alone: the command says its shape.
/// let bytes = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0x80, 0, 0, 0];
/// let view = ResponseView::parse(&bytes, Command::of(CommandCode::CONTEXT_LOAD))?;
/// assert!(view.handle().is_some_and(|handle| handle.is_transient()));
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    bytes: &'a [u8],
    header: Header,
    handle: Option<Handle>,
    parameters: usize,
    /// The offset of the authorization area, at which the parameters end.
    auths: usize,
}

impl<'a> ResponseView<'a> {
    /// Takes a response to the command apart that `info` is of.
    ///
    /// Of a response to a command that the table doesn't have, all behind the
    /// header is the parameters. So it is of an error, which has no more than a
    /// header.
    ///
    /// # Errors
    /// [`ErrorKind::MalformedResponse`](crate::ErrorKind::MalformedResponse),
    /// with the part that is wrong, for fewer than ten bytes, for a size in the
    /// header that is not the number of bytes, for a successful response with a
    /// tag that none has, and for a handle, parameters or an authorization that
    /// are cut short.
    pub fn parse(bytes: &'a [u8], info: Option<&'static Command>) -> Result<Self> {
        let header = Subject::Response.header(bytes)?;
        let mut view = Self {
            bytes,
            header,
            handle: None,
            parameters: Header::SIZE,
            auths: bytes.len(),
        };
        if header.code != 0 {
            return Ok(view);
        }
        let has_auths = match header.tag {
            tag::SESSIONS => true,
            tag::NO_SESSIONS => false,
            other => {
                return Err(Subject::Response.error(format!(
                    "has the tag 0x{other:04x} (it is 0x8001, or 0x8002 with sessions)"
                )));
            }
        };
        if let Some(info) = info {
            view.locate(info, has_auths)?;
        }
        Ok(view)
    }

    fn locate(&mut self, info: &Command, has_auths: bool) -> Result<()> {
        let cut = |part| Subject::Response.cut(part, self.bytes);
        let mut cursor = Cursor::new(self.bytes, Header::SIZE);
        if info.response_handle.is_some() {
            let handle = cursor.u32().ok_or_else(|| cut("handle"))?;
            self.handle = Some(Handle(handle));
        }
        self.parameters = cursor.offset();
        if !has_auths {
            return Ok(());
        }
        let size = cursor.u32().ok_or_else(|| cut("parameter size"))?;
        self.parameters = cursor.offset();
        cursor
            .take(size as usize)
            .ok_or_else(|| cut("parameters"))?;
        self.auths = cursor.offset();
        self.auths().check().map_err(|number| {
            Subject::Response.error(format!("ends within authorization {}", number + 1))
        })
    }

    /// Returns the whole response.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns its header.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// Returns its response code.
    pub const fn code(&self) -> ResponseCode {
        ResponseCode(self.header.code)
    }

    /// Returns whether its response code is TPM_RC_SUCCESS.
    pub const fn is_success(&self) -> bool {
        self.header.code == 0
    }

    /// Returns whether the response has an authorization area (`TPM_ST_SESSIONS`).
    pub const fn has_auths(&self) -> bool {
        self.header.tag == tag::SESSIONS
    }

    /// Returns its handle, if it has one; it is at [`Self::HANDLE_OFFSET`].
    pub const fn handle(&self) -> Option<Handle> {
        self.handle
    }

    /// The offset of a response's handle.
    pub const HANDLE_OFFSET: usize = Header::SIZE;

    /// Returns its parameters, without their size.
    pub fn parameters(&self) -> &'a [u8] {
        self.bytes
            .get(self.parameters..self.auths)
            .unwrap_or_default()
    }

    /// Returns the offset of the parameters in the response, behind their size.
    pub const fn parameters_offset(&self) -> usize {
        self.parameters
    }

    /// Returns the sessions of its authorization area, in the order of the
    /// command's.
    pub fn auths(&self) -> Auths<'a, AuthResponse<'a>> {
        Auths::of_response(Cursor::new(self.bytes, self.auths))
    }

    /// Returns the offset of the authorization area in the response; its size,
    /// if it has none.
    pub const fn auth_area_offset(&self) -> usize {
        self.auths
    }
}

#[cfg(test)]
mod tests;
