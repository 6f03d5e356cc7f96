// SPDX-License-Identifier: BSD-2-Clause
//! The layer's options: `key=null|FILE[,handle=][,name=][,strict=1][,skip=]`.

#![forbid(unsafe_code)]

use super::key::{KeySource, Pinned, from_hex};
use crate::config::{Options, bad_value};
use crate::wire::CommandCode;
use crate::{Error, ErrorKind, Result};

const LAYER: &str = "the layer wrap";

/// The salt key's default handle, which by convention is the storage root key's.
const DEFAULT_HANDLE: u32 = 0x8100_0001;

/// The layer's settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) source: KeySource,
    /// The Name that the salt key must have.
    pub(super) name: Option<Vec<u8>>,
    /// The Name of the null hierarchy's primary that the system reports, and the
    /// file that has it.
    pub(super) system_name: Option<(Vec<u8>, String)>,
    /// Whether commands that cannot be protected are refused.
    pub(super) strict: bool,
    /// The commands that pass unchanged.
    pub(super) skip: Vec<CommandCode>,
    /// Whether a layer below answers with the program's view of handles.
    pub(super) has_view_below: bool,
}

/// The options as they were written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    key: Key,
    name: Option<Vec<u8>>,
    strict: bool,
    skip: Vec<CommandCode>,
}

impl Written {
    /// Reads the options, and no file.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for options that are missing or have a wrong value.
    pub(super) fn take(options: &mut Options) -> Result<Self> {
        let (key, handle) = (options.take("key"), options.take("handle"));
        let (name, strict) = (options.take("name"), options.take("strict"));
        let skip = options.take("skip");
        // An unknown option is reported before a missing one.
        options.finish()?;
        let written = Self {
            key: Key::read(key.as_deref(), handle.as_deref())?,
            name: name.as_deref().map(self::name).transpose()?,
            strict: match strict.as_deref() {
                None | Some("0") => false,
                Some("1") => true,
                Some(other) => return Err(bad_value(LAYER, "strict", other, "0 or 1")),
            },
            skip: skip.as_deref().map_or_else(|| Ok(Vec::new()), self::skip)?,
        };
        Ok(written)
    }
}

/// The salt key that the options name.
#[derive(Clone, Debug)]
enum Key {
    Null,
    File { path: String, handle: u32 },
}

impl Key {
    fn read(key: Option<&str>, handle: Option<&str>) -> Result<Self> {
        let handle = handle.map(self::handle).transpose()?;
        match key {
            None => Err(Error::new(
                ErrorKind::BadValue,
                "the layer wrap is given no key: choose key=FILE (the public part of a \
                 persistent ECC key of this TPM, pinned) or key=null (a key that this TPM makes; \
                 without name=, an impostor that is there from the start is not detected)",
            )),
            Some("") => Err(bad_value(LAYER, "key", "", "null or a file")),
            Some("null") if handle.is_some() => Err(Error::new(
                ErrorKind::BadValue,
                "the layer wrap: handle= goes with key=FILE, not with key=null",
            )),
            Some("null") => Ok(Self::Null),
            Some(path) => Ok(Self::File {
                path: path.to_owned(),
                handle: handle.unwrap_or(DEFAULT_HANDLE),
            }),
        }
    }
}

impl Written {
    /// Reads the key's file.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a file that cannot be read, or holds no key;
    /// [`ErrorKind::NotSupported`] for a key that sessions cannot be salted with.
    pub(super) fn settings(&self) -> Result<Settings> {
        let source = match &self.key {
            Key::Null => KeySource::Null,
            Key::File { path, handle } => KeySource::Persistent {
                handle: *handle,
                pinned: pinned(path)?,
            },
        };
        if let (
            KeySource::Persistent {
                pinned: Pinned::Public(key),
                ..
            },
            Some(name),
        ) = (&source, &self.name)
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
            name: self.name.clone(),
            system_name: None,
            strict: self.strict,
            skip: self.skip.clone(),
            has_view_below: false,
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

fn skip(value: &str) -> Result<Vec<CommandCode>> {
    let allowed = "command names or codes with + between them, as in GetTestResult+0x17a";
    value
        .split(['+', ';', ',', ' '])
        .map(|code| {
            code.parse()
                .map_err(|_| bad_value(LAYER, "skip", value, allowed))
        })
        .collect()
}
