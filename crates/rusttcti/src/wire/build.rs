// SPDX-License-Identifier: BSD-2-Clause
//! Builders for commands and responses.

#![forbid(unsafe_code)]

use super::auth::SessionAttributes;
use super::code::CommandCode;
use super::constants::tag;
use super::handle::Handle;
use super::header::Header;
use super::rc::ResponseCode;
use crate::{Error, ErrorKind, Result};

/// Makes a command: its code, handles, authorizations and parameters, each in
/// order (Part 1, section 18). The sizes and the tag come by themselves.
///
/// ```
/// use rusttcti::wire::{CommandBuilder, CommandCode, Handle, capability};
///
/// let random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
/// assert_eq!(random, [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16]);
///
/// let flush = CommandBuilder::flush_context(Handle(0x8000_0000)).build();
/// assert_eq!(flush.len(), 14);
///
/// let handles = CommandBuilder::get_capability(
///     capability::HANDLES,
///     Handle::TRANSIENT_FIRST.0,
///     254,
/// );
/// assert_eq!(handles.build().len(), 22);
/// ```
#[derive(Clone, Debug)]
pub struct CommandBuilder {
    code: CommandCode,
    handles: Vec<u8>,
    auths: Vec<u8>,
    parameters: Vec<u8>,
}

/// Makes a response: its code, handle, parameters and authorizations, each in
/// order (Part 1, section 18). The sizes and the tag come by themselves.
///
/// ```
/// use rusttcti::wire::{Handle, ResponseBuilder, ResponseCode};
///
/// let failure = ResponseBuilder::new(ResponseCode::FAILURE).build();
/// assert_eq!(failure, [0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1]);
///
/// let loaded = ResponseBuilder::new(ResponseCode::SUCCESS)
///     .handle(Handle(0x8000_0000))
///     .build();
/// assert_eq!(loaded, [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0x80, 0, 0, 0]);
/// ```
#[derive(Clone, Debug)]
pub struct ResponseBuilder {
    code: ResponseCode,
    handle: Option<Handle>,
    parameters: Vec<u8>,
    auths: Vec<u8>,
}

macro_rules! parameters {
    () => {
        /// Adds an 8-bit parameter.
        #[must_use]
        pub fn u8(self, value: u8) -> Self {
            self.bytes(&[value])
        }

        /// Adds a 16-bit parameter.
        #[must_use]
        pub fn u16(self, value: u16) -> Self {
            self.bytes(&value.to_be_bytes())
        }

        /// Adds a 32-bit parameter.
        #[must_use]
        pub fn u32(self, value: u32) -> Self {
            self.bytes(&value.to_be_bytes())
        }

        /// Adds bytes as they are: a parameter, or part of one, or several.
        #[must_use]
        pub fn bytes(mut self, bytes: &[u8]) -> Self {
            self.parameters.extend_from_slice(bytes);
            self
        }

        /// Adds a sized buffer (TPM2B): a 16-bit size, and the bytes.
        ///
        /// # Errors
        /// [`ErrorKind::BadValue`] for more than 65535 bytes.
        pub fn sized(mut self, bytes: &[u8]) -> Result<Self> {
            push_sized(&mut self.parameters, bytes)?;
            Ok(self)
        }
    };
}

impl CommandBuilder {
    /// Begins a command with this code.
    #[must_use]
    pub const fn new(code: CommandCode) -> Self {
        Self {
            code,
            handles: Vec::new(),
            auths: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Adds a handle to the handle area.
    #[must_use]
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handles.extend_from_slice(&handle.0.to_be_bytes());
        self
    }

    /// Adds a session, or a password with [`Handle::RS_PW`], to the
    /// authorization area. The command then has the tag `TPM_ST_SESSIONS`.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a nonce or HMAC of more than 65535 bytes.
    pub fn auth(
        mut self,
        session: Handle,
        nonce: &[u8],
        attributes: SessionAttributes,
        hmac: &[u8],
    ) -> Result<Self> {
        self.auths.extend_from_slice(&session.0.to_be_bytes());
        push_sized(&mut self.auths, nonce)?;
        self.auths.push(attributes.0);
        push_sized(&mut self.auths, hmac)?;
        Ok(self)
    }

    /// Adds an empty password to the authorization area.
    #[must_use]
    pub fn empty_password(mut self) -> Self {
        self.auths.extend_from_slice(&Handle::RS_PW.0.to_be_bytes());
        self.auths.extend_from_slice(&[0; 5]);
        self
    }

    parameters!();

    /// Returns the command.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        let size = (self.auths.len() as u32).to_be_bytes();
        let (tag, size) = match self.auths.is_empty() {
            true => (tag::NO_SESSIONS, &[][..]),
            false => (tag::SESSIONS, &size[..]),
        };
        let parts = [&self.handles, size, &self.auths, &self.parameters];
        whole(tag, self.code.0, &parts)
    }
}

/// Commands that layers send of their own.
impl CommandBuilder {
    /// Begins TPM2_Startup with a [type](crate::wire::startup_type).
    #[must_use]
    pub fn startup(startup_type: u16) -> Self {
        Self::new(CommandCode::STARTUP).u16(startup_type)
    }

    /// Begins TPM2_GetCapability for up to `count` values from `property` on.
    #[must_use]
    pub fn get_capability(capability: u32, property: u32, count: u32) -> Self {
        let command = Self::new(CommandCode::GET_CAPABILITY);
        command.u32(capability).u32(property).u32(count)
    }

    /// Begins TPM2_FlushContext of a transient object or a session.
    #[must_use]
    pub fn flush_context(handle: Handle) -> Self {
        Self::new(CommandCode::FLUSH_CONTEXT).u32(handle.0)
    }

    /// Begins TPM2_ContextSave of a transient object or a session.
    #[must_use]
    pub fn context_save(handle: Handle) -> Self {
        Self::new(CommandCode::CONTEXT_SAVE).handle(handle)
    }

    /// Begins TPM2_ContextLoad of a `TPMS_CONTEXT`, which TPM2_ContextSave
    /// returned.
    #[must_use]
    pub fn context_load(context: &[u8]) -> Self {
        Self::new(CommandCode::CONTEXT_LOAD).bytes(context)
    }

    /// Begins TPM2_ReadPublic of an object.
    #[must_use]
    pub fn read_public(handle: Handle) -> Self {
        Self::new(CommandCode::READ_PUBLIC).handle(handle)
    }
}

impl ResponseBuilder {
    /// Begins a response with this response code.
    #[must_use]
    pub const fn new(code: ResponseCode) -> Self {
        Self {
            code,
            handle: None,
            parameters: Vec::new(),
            auths: Vec::new(),
        }
    }

    /// Sets the handle that the response begins with.
    #[must_use]
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    parameters!();

    /// Adds a session to the authorization area. The response then has the tag
    /// `TPM_ST_SESSIONS`.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a nonce or HMAC of more than 65535 bytes.
    pub fn auth(
        mut self,
        nonce: &[u8],
        attributes: SessionAttributes,
        hmac: &[u8],
    ) -> Result<Self> {
        push_sized(&mut self.auths, nonce)?;
        self.auths.push(attributes.0);
        push_sized(&mut self.auths, hmac)?;
        Ok(self)
    }

    /// Returns the response.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        let handle = self.handle.map(|handle| handle.0.to_be_bytes());
        let handle = handle.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let size = (self.parameters.len() as u32).to_be_bytes();
        let (tag, size) = match self.auths.is_empty() {
            true => (tag::NO_SESSIONS, &[][..]),
            false => (tag::SESSIONS, &size[..]),
        };
        whole(
            tag,
            self.code.0,
            &[handle, size, &self.parameters, &self.auths],
        )
    }
}

fn push_sized(to: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let size = u16::try_from(bytes.len()).map_err(|_| {
        let length = bytes.len();
        Error::new(
            ErrorKind::BadValue,
            format!("a sized buffer of {length} bytes (the size has 16 bits)"),
        )
    })?;
    to.extend_from_slice(&size.to_be_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

fn whole(tag: u16, code: u32, parts: &[&[u8]]) -> Vec<u8> {
    let size = Header::SIZE + parts.iter().map(|part| part.len()).sum::<usize>();
    let header = Header {
        tag,
        size: size as u32,
        code,
    };
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&header.to_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Command, CommandView, ResponseView};
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..40)
    }

    fn auths() -> impl Strategy<Value = Vec<(u32, Vec<u8>, u8, Vec<u8>)>> {
        let auth = (any::<u32>(), bytes(), any::<u8>(), bytes());
        prop::collection::vec(auth, 0..=3)
    }

    proptest! {
        #[test]
        fn a_view_of_a_built_command_has_the_parts_that_it_was_built_from(
            number in 0..Command::all().len(),
            handles: [u32; 3],
            auths in auths(),
            parameters in bytes(),
        ) {
            let info = &Command::all()[number];
            let handles = &handles[..info.handles.len()];
            let mut builder = CommandBuilder::new(info.code).bytes(&parameters);
            for handle in handles {
                builder = builder.handle(Handle(*handle));
            }
            for (session, nonce, attributes, hmac) in &auths {
                let attributes = SessionAttributes(*attributes);
                builder = builder.auth(Handle(*session), nonce, attributes, hmac).unwrap();
            }
            let command = builder.build();
            let view = CommandView::parse(&command).unwrap();
            prop_assert_eq!(view.info(), Some(info));
            let seen: Vec<_> = view.handles().map(|view| view.handle.0).collect();
            prop_assert_eq!(&seen, handles);
            for handle in view.handles() {
                let bytes = &command[handle.offset..handle.offset + 4];
                prop_assert_eq!(bytes, handle.handle.0.to_be_bytes());
            }
            let seen = view.auths().map(|auth| {
                (auth.handle.0, auth.nonce.to_vec(), auth.attributes.0, auth.hmac.to_vec())
            });
            prop_assert_eq!(seen.collect::<Vec<_>>(), auths);
            prop_assert_eq!(view.parameters(), parameters);
        }

        #[test]
        fn a_view_of_a_built_response_has_the_parts_that_it_was_built_from(
            number in 0..Command::all().len(),
            handle: u32,
            auths in auths(),
            parameters in bytes(),
        ) {
            let info = &Command::all()[number];
            let mut builder = ResponseBuilder::new(ResponseCode::SUCCESS).bytes(&parameters);
            if info.response_handle.is_some() {
                builder = builder.handle(Handle(handle));
            }
            for (_, nonce, attributes, hmac) in &auths {
                builder = builder.auth(nonce, SessionAttributes(*attributes), hmac).unwrap();
            }
            let response = builder.build();
            let view = ResponseView::parse(&response, Some(info)).unwrap();
            let expected = info.response_handle.map(|_| Handle(handle));
            prop_assert_eq!(view.handle(), expected);
            prop_assert_eq!(view.parameters(), parameters);
            let seen: Vec<_> = view.auths().map(|auth| auth.hmac.to_vec()).collect();
            let sent: Vec<_> = auths.iter().map(|auth| auth.3.clone()).collect();
            prop_assert_eq!(seen, sent);
        }
    }

    #[test]
    fn a_buffer_whose_size_has_no_room_in_16_bits_is_refused() {
        let long = vec![0; 65536];
        let builder = CommandBuilder::new(CommandCode::STIR_RANDOM);
        let error = builder.clone().sized(&long).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(builder.sized(&long[1..]).is_ok());
    }

    #[test]
    fn an_empty_password_is_what_a_session_without_anything_is() {
        let one = CommandBuilder::new(CommandCode::CLEAR).handle(Handle::PLATFORM);
        let other = one.clone();
        let other = other.auth(Handle::RS_PW, &[], SessionAttributes::NONE, &[]);
        assert_eq!(one.empty_password().build(), other.unwrap().build());
    }
}
