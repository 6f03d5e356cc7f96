// SPDX-License-Identifier: BSD-2-Clause
//! Responses to TPM2_GetCapability: lists of numbers.

#![forbid(unsafe_code)]

use super::constants::capability;
use super::cursor::{Cursor, Subject};
use super::handle::Handle;
use super::response::ResponseView;
use crate::Result;

/// The list in a response of TPM2_GetCapability (Part 3, section 30.2;
/// `TPMS_CAPABILITY_DATA`, Part 2, section 10.10.1).
///
/// ```
/// use rusttcti::wire::{CapabilityView, Command, CommandCode, Handle, ResponseView};
///
/// let bytes = [
///     0x80, 0x01, 0, 0, 0, 27, 0, 0, 0, 0, // TPM_RC_SUCCESS
///     0, 0, 0, 0, 1, 0, 0, 0, 2, // no more, TPM_CAP_HANDLES, two
///     0x80, 0, 0, 0, 0x80, 0, 0, 1,
/// ];
/// let response = ResponseView::parse(&bytes, Command::of(CommandCode::GET_CAPABILITY))?;
/// let list = CapabilityView::parse(&response)?;
/// assert!(!list.has_more());
/// let handles: Vec<Handle> = list.handles().collect();
/// assert_eq!(handles, [Handle(0x8000_0000), Handle(0x8000_0001)]);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CapabilityView<'a> {
    has_more: bool,
    capability: u32,
    /// The values, as many as the list's count.
    values: &'a [u8],
}

impl<'a> CapabilityView<'a> {
    /// Takes the parameters of a successful response apart.
    ///
    /// # Errors
    /// [`ErrorKind::MalformedResponse`](crate::ErrorKind::MalformedResponse) for
    /// parameters that are cut short, such as those of an error, and for a list
    /// with fewer values than it says.
    pub fn parse(response: &ResponseView<'a>) -> Result<Self> {
        Self::of_parameters(response.parameters())
            .ok_or_else(|| Subject::Response.cut("list of capabilities", response.bytes()))
    }

    /// Takes the parameters of a response apart; `None` for a list that is cut short.
    pub(crate) fn of_parameters(parameters: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(parameters, 0);
        let has_more = cursor.u8()? != 0;
        let capability = cursor.u32()?;
        let count = cursor.u32()?;
        let size = (count as usize).checked_mul(size_of_value(capability))?;
        let values = cursor.take(size)?;
        Some(Self {
            has_more,
            capability,
            values,
        })
    }

    /// Returns whether the TPM has more values than this list.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Returns which [capability](crate::wire::capability) the list is of.
    pub const fn capability(&self) -> u32 {
        self.capability
    }

    /// Returns the handles of a list of [`capability::HANDLES`]; none of another.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + use<'a> {
        self.words_of(&[capability::HANDLES]).map(Handle)
    }

    /// Returns the attributes (`TPMA_CC`) of a list of [`capability::COMMANDS`],
    /// and the codes of one of PP_COMMANDS or AUDIT_COMMANDS; none of another.
    pub fn commands(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.words_of(&[
            capability::COMMANDS,
            capability::PP_COMMANDS,
            capability::AUDIT_COMMANDS,
        ])
    }

    /// Returns the [properties](crate::wire::property) and their values of a list
    /// of [`capability::TPM_PROPERTIES`]; none of another.
    pub fn properties(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let mut words = self.words_of(&[capability::TPM_PROPERTIES]);
        std::iter::from_fn(move || Some((words.next()?, words.next()?)))
    }

    fn words_of(&self, capabilities: &[u32]) -> impl Iterator<Item = u32> + use<'a> {
        let values = match capabilities.contains(&self.capability) {
            true => self.values,
            false => &[],
        };
        let mut cursor = Cursor::new(values, 0);
        std::iter::from_fn(move || cursor.u32())
    }
}

/// Returns the size of a list's value, for the capabilities whose values have one:
/// 0 for others, which are not read.
const fn size_of_value(capability: u32) -> usize {
    match capability {
        capability::HANDLES
        | capability::COMMANDS
        | capability::PP_COMMANDS
        | capability::AUDIT_COMMANDS => 4,
        capability::TPM_PROPERTIES => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::wire::{Command, CommandCode, ResponseBuilder, ResponseCode};
    use proptest::prelude::*;

    fn list(capability: u32, count: u32, values: &[u8]) -> Vec<u8> {
        ResponseBuilder::new(ResponseCode::SUCCESS)
            .u8(1)
            .u32(capability)
            .u32(count)
            .bytes(values)
            .build()
    }

    fn parse(bytes: &[u8]) -> Result<CapabilityView<'_>> {
        let info = Command::of(CommandCode::GET_CAPABILITY);
        CapabilityView::parse(&ResponseView::parse(bytes, info)?)
    }

    #[test]
    fn properties_are_pairs() {
        let bytes = list(
            capability::TPM_PROPERTIES,
            2,
            &[0, 0, 1, 0, 0, 0, 0, 7, 0, 0, 1, 2, 0, 0, 0, 8],
        );
        let view = parse(&bytes).expect("well formed");
        assert!(view.has_more());
        let properties: Vec<_> = view.properties().collect();
        assert_eq!(properties, [(0x100, 7), (0x102, 8)]);
        assert_eq!((view.handles().count(), view.commands().count()), (0, 0));
    }

    #[test]
    fn a_list_with_fewer_values_than_it_says_is_malformed() {
        for count in [2, 0x4000_0001, u32::MAX] {
            let error = parse(&list(capability::HANDLES, count, &[0; 7])).expect_err("a lie");
            assert_eq!(error.kind(), ErrorKind::MalformedResponse);
        }
        let failure = ResponseBuilder::new(ResponseCode::INITIALIZE).build();
        assert!(parse(&failure).is_err());
    }

    proptest! {
        #[test]
        fn a_list_has_as_many_values_as_it_says(
            bytes in crate::wire::test_bytes::response(),
            capability in 0..8u32,
            count in 0..20u32,
            values in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse(&bytes).map(|view| view.handles().count());
            if let Ok(view) = parse(&list(capability, count, &values)) {
                let seen = match capability {
                    capability::HANDLES => view.handles().count(),
                    2..=4 => view.commands().count(),
                    capability::TPM_PROPERTIES => view.properties().count(),
                    _ => count as usize,
                };
                prop_assert_eq!(seen, count as usize);
            }
        }
    }
}
