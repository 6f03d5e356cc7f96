// SPDX-License-Identifier: BSD-2-Clause
//! A layer's options, as a chain spells them.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result, conf};

/// The `key=value` options of one layer. Each may be taken once; what is left
/// over is a mistake of the user's, which [`finish`](Self::finish) reports.
#[derive(Debug)]
pub struct Options {
    layer: String,
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Options {
    /// Reads `,key=value,key=value:REST` (what follows a layer's name) up to
    /// the colon or the end, and returns the options and REST.
    pub(crate) fn parse<'a>(layer: &str, text: &'a str) -> Result<(Self, &'a str)> {
        let mut fields = Vec::new();
        let mut field: Option<String> = None;
        let mut chars = text.char_indices();
        let mut rest = "";
        while let Some((at, c)) = chars.next() {
            match (c, &mut field) {
                (':', _) => {
                    rest = &text[at + 1..];
                    break;
                }
                (',', _) => fields.extend(field.replace(String::new())),
                ('\\', Some(field)) => match chars.next() {
                    Some((_, c @ (',' | ':' | '\\'))) => field.push(c),
                    _ => {
                        return Err(Error::new(
                            ErrorKind::BadValue,
                            format!(
                                "in the options of the layer {layer}, a backslash stands before \
                                 one of , : \\ only"
                            ),
                        ));
                    }
                },
                (c, Some(field)) => field.push(c),
                (_, None) => unreachable!("a layer's name ends at a comma, a colon or the end"),
            }
        }
        fields.extend(field);

        let mut pairs: Vec<(String, String)> = Vec::new();
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::BadValue,
                        format!("\"{field}\" of the layer {layer} is not of the form key=value"),
                    )
                })?;
            if pairs.iter().any(|(seen, _)| seen == key) {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!("the layer {layer} is given {key} twice"),
                ));
            }
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok((
            Self {
                layer: layer.to_owned(),
                pairs,
                known: Vec::new(),
            },
            rest,
        ))
    }

    /// Takes the value of `key` out, if it was given.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(given, _)| given == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// Checks that nothing was given that the layer doesn't know.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`], naming the key and those that there are.
    pub fn finish(self) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(conf::unknown_key(
                &format!("the layer {}", self.layer),
                key,
                &self.known,
            )),
        }
    }
}
