// SPDX-License-Identifier: BSD-2-Clause
//! The layer's options: `key=null|FILE[,handle=][,name=][,strict=1][,skip=]`.

#![forbid(unsafe_code)]

use super::key::{KeySource, Pinned, from_hex};
use super::shape;
use crate::config::{Options, bad_value};
use crate::{Error, ErrorKind, Result};

const LAYER: &str = "the layer wrap";

/// Where a storage root key is by convention, and this layer's salt key if
/// nothing else is said.
const DEFAULT_HANDLE: u32 = 0x8100_0001;

/// What the layer was told.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) source: KeySource,
    /// The Name that the salt key must have.
    pub(super) name: Option<Vec<u8>>,
    /// The Name that the system says the null hierarchy's primary has, and the
    /// file that says so.
    pub(super) system_name: Option<(Vec<u8>, String)>,
    /// Whether what cannot be protected is refused.
    pub(super) strict: bool,
    /// The codes of commands that pass as they are.
    pub(super) skip: Vec<u32>,
}

impl Settings {
    /// Reads the options, and the key's file.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for options that are missing or say nothing that
    /// can be done; what reading the file fails with.
    pub(super) fn read(options: Options) -> Result<Self> {
        Written::take(options)?.settings()
    }
}

/// The options as they were written.
pub(super) struct Written {
    pub(super) key: Option<String>,
    handle: Option<String>,
    name: Option<String>,
    strict: Option<String>,
    skip: Option<String>,
}

impl Written {
    pub(super) fn take(mut options: Options) -> Result<Self> {
        let written = Self {
            key: options.take("key"),
            handle: options.take("handle"),
            name: options.take("name"),
            strict: options.take("strict"),
            skip: options.take("skip"),
        };
        options.finish()?;
        Ok(written)
    }

    fn settings(self) -> Result<Settings> {
        let handle = self.handle.as_deref().map(handle).transpose()?;
        let name = self.name.as_deref().map(name).transpose()?;
        let strict = match self.strict.as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(bad_value(LAYER, "strict", other, "0 or 1")),
        };
        let skip = self.skip.as_deref().map(skip).transpose()?;
        let source = match self.key.as_deref() {
            None => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    "the layer wrap is given no key: choose key=FILE (the public part of a \
                     persistent ECC key of this TPM, pinned) or key=null (a key that this TPM \
                     makes, which cannot tell an impostor that was there from the start unless \
                     name= is given too)",
                ));
            }
            Some("") => return Err(bad_value(LAYER, "key", "", "null or a file")),
            Some("null") if handle.is_some() => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    "the layer wrap: handle= goes with key=FILE, not with key=null",
                ));
            }
            Some("null") => KeySource::Null,
            Some(file) => KeySource::Persistent {
                handle: handle.unwrap_or(DEFAULT_HANDLE),
                pinned: pinned(file)?,
            },
        };
        if let (
            KeySource::Persistent {
                pinned: Pinned::Public(key),
                ..
            },
            Some(name),
        ) = (&source, &name)
        {
            if key.name != *name {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!(
                        "the layer wrap: the key of the file has the Name {}, and name={} \
                         was given",
                        super::key::hex(&key.name),
                        super::key::hex(name)
                    ),
                ));
            }
        }
        Ok(Settings {
            source,
            name,
            system_name: None,
            strict,
            skip: skip.unwrap_or_default(),
        })
    }
}

fn pinned(file: &str) -> Result<Pinned> {
    let content = std::fs::read(file).map_err(|error| {
        Error::from(error).context(format!(
            "the layer wrap cannot read the salt key's public part from \"{file}\" (key= is null \
             or a file)"
        ))
    });
    // A file that is not there is a mistake in the configuration.
    let content = content
        .map_err(|error| Error::with_source(ErrorKind::BadValue, error.to_string(), error))?;
    Pinned::read(&content)
        .map_err(|error| error.context(format!("the layer wrap cannot use key={file}")))
}

fn handle(value: &str) -> Result<u32> {
    number(value)
        .filter(|handle| handle >> 24 == 0x81)
        .ok_or_else(|| {
            bad_value(
                LAYER,
                "handle",
                value,
                "a persistent handle, 0x81000000 to 0x81ffffff",
            )
        })
}

fn number(value: &str) -> Option<u32> {
    match value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => value.parse().ok(),
    }
}

fn name(value: &str) -> Result<Vec<u8>> {
    from_hex(value)
        .filter(|name| {
            matches!(
                (name.get(..2), name.len()),
                (Some([0x00, 0x0b]), 34) | (Some([0x00, 0x0c]), 50)
            )
        })
        .ok_or_else(|| {
            bad_value(
                LAYER,
                "name",
                value,
                "the key's Name in hexadecimal, 000b and a SHA-256 digest or 000c and a SHA-384 \
                 digest",
            )
        })
}

fn skip(value: &str) -> Result<Vec<u32>> {
    value
        .split(['+', ';', ',', ' '])
        .map(|code| {
            shape::code_of_name(code)
                .or_else(|| number(code))
                .ok_or_else(|| {
                    bad_value(
                        LAYER,
                        "skip",
                        value,
                        "command names or codes with + between them, as in GetTestResult+0x17c",
                    )
                })
        })
        .collect()
}
