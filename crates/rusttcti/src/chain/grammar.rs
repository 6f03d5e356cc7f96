// SPDX-License-Identifier: BSD-2-Clause
//! The grammar of a chain: names, options and CONF, without their meaning.

#![forbid(unsafe_code)]

use crate::config::Options;
use crate::{Error, ErrorKind, Result};

/// The largest number of layers in a chain: each takes some stack of the calling
/// thread.
const MOST_LAYERS: usize = 64;

/// A chain, split at its colons.
pub(super) struct Parts<'a> {
    /// The layers, from the outermost inwards.
    pub(super) layers: Vec<(&'a str, Options)>,
    /// The transport; `None` if the chain ends before it.
    pub(super) transport: Option<Named<'a>>,
}

/// A transport or a C module, as the chain names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    /// The text after the colon. If the name has options, the text from their first
    /// comma on, with the rest of the chain: a module that is a layer reads both there.
    pub(super) conf: Option<&'a str>,
    /// Whether `conf` begins with options.
    pub(super) has_options: bool,
    /// Whether a layer with options stands before it, so that the name may be the end of
    /// an option that has a colon in it.
    pub(super) is_behind_options: bool,
}

impl<'a> Parts<'a> {
    /// Splits a chain; `is_layer` returns whether a name is that of a layer.
    pub(super) fn split(chain: &'a str, is_layer: impl Fn(&str) -> bool) -> Result<Self> {
        let mut layers = Vec::new();
        let mut rest = chain;
        loop {
            let name = &rest[..rest.find([',', ':']).unwrap_or(rest.len())];
            if !is_layer(name) {
                break;
            }
            if layers.len() == MOST_LAYERS {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!("the chain has more than {MOST_LAYERS} layers"),
                ));
            }
            let (options, after) = Options::parse(name, &rest[name.len()..])?;
            layers.push((name, options));
            rest = after;
        }
        let is_behind_options = layers
            .last()
            .is_some_and(|(_, options)| !options.given().is_empty());
        let transport = match rest.find([',', ':']) {
            _ if rest.is_empty() => None,
            Some(0) => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!(
                        "the chain \"{chain}\" names no transport before \"{}\"",
                        &rest[..1]
                    ),
                ));
            }
            Some(end) => {
                let has_options = rest[end..].starts_with(',');
                Some(Named {
                    name: &rest[..end],
                    conf: Some(&rest[if has_options { end } else { end + 1 }..]),
                    has_options,
                    is_behind_options,
                })
            }
            None => Some(Named {
                name: rest,
                conf: None,
                has_options: false,
                is_behind_options,
            }),
        };
        Ok(Self { layers, transport })
    }
}
