// SPDX-License-Identifier: BSD-2-Clause
//! A layer's options, as a chain spells them.

#![forbid(unsafe_code)]

use super::pairs;
use crate::{Error, ErrorKind, Result};

/// The `key=value` options of one layer. Each may be taken once; what is left
/// over is a mistake of the user's, which [`finish`](Self::finish) reports.
#[derive(Debug)]
pub(crate) struct Options {
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

    #[cfg(fuzzing)]
    pub(crate) fn layer(&self) -> &str {
        &self.layer
    }

    /// Takes the value of `key` out, if it was given.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(given, _)| given == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// Checks that nothing was given that the layer doesn't know.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`], naming the key and those that there are.
    pub(crate) fn finish(self) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(pairs::unknown_key(
                &format!("the layer {}", self.layer),
                key,
                &self.known,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<(Vec<(String, String)>, String)> {
        let (options, rest) = Options::parse("layer", text)?;
        Ok((options.pairs, rest.to_owned()))
    }

    fn message(text: &str) -> String {
        let error = parse(text).expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        error.to_string()
    }

    #[test]
    fn what_follows_the_options_is_left_verbatim() {
        let (pairs, rest) = parse(",a=1,b=:swtpm:path=\\,x").expect("options");
        assert_eq!(
            pairs,
            [("a".into(), "1".into()), ("b".into(), String::new())]
        );
        assert_eq!(rest, "swtpm:path=\\,x");
        assert_eq!(parse("").expect("none").1, "");
        assert_eq!(parse(":null").expect("none"), (vec![], "null".into()));
    }

    #[test]
    fn a_backslash_escapes_the_comma_the_colon_and_itself_and_nothing_else() {
        let (pairs, rest) = parse(r",file=a\,b\:c\\d=e:null").expect("options");
        assert_eq!(pairs, [("file".into(), r"a,b:c\d=e".into())]);
        assert_eq!(rest, "null");
        assert!(message(r",file=a\b").contains("backslash"));
        assert!(message(",file=a\\").contains("backslash"));
    }

    #[test]
    fn a_mistake_names_what_was_written() {
        assert!(message(",file").contains("\"file\" of the layer layer"));
        assert!(message(",=x").contains("\"=x\""));
        assert!(message(",").contains("\"\""));
        assert!(message(",a=1,a=2").contains("given a twice"));
    }

    #[test]
    fn an_option_that_nobody_took_is_a_mistake_that_lists_those_there_are() {
        let (mut options, _) = Options::parse("pcap", ",flie=x").expect("options");
        assert_eq!(options.take("file"), None);
        let error = options.finish().expect_err("a mistake").to_string();
        assert_eq!(
            error,
            "the layer pcap has no option \"flie\" (its options: file)"
        );
    }

    proptest! {
        #[test]
        fn any_value_comes_through_its_escapes(value in any::<String>(), rest in any::<String>()) {
            let mut text = ",key=".to_owned();
            for c in value.chars() {
                if matches!(c, ',' | ':' | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
            text.push(':');
            text.push_str(&rest);
            let (pairs, found) = parse(&text).expect("options");
            prop_assert_eq!(pairs, [("key".to_owned(), value)]);
            prop_assert_eq!(found, rest);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[,:].*") {
            let _ = parse(&text);
        }
    }
}
