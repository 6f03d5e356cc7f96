// SPDX-License-Identifier: BSD-2-Clause
//! A layer's options, as a chain writes them.

#![forbid(unsafe_code)]

use super::pairs;
use crate::{Error, ErrorKind, Result};

/// The options of one layer, as in `NAME,key=value,key:CHAIN`. Each may be taken once;
/// an option that is left over is the user's mistake, and the chain reports it.
///
/// ```
/// use rusttcti::Options;
///
/// let (mut options, chain) = Options::split("retry", Some(",times=3:swtpm:port=2321"))?;
/// assert_eq!(options.take("times").as_deref(), Some("3"));
/// assert_eq!(options.take("wait"), None);
/// options.finish()?; // nothing is left
/// assert_eq!(chain, "swtpm:port=2321");
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    layer: String,
    /// The options not taken yet; a key without a value has `None`.
    given: Vec<(String, Option<String>)>,
    known: Vec<&'static str>,
}

impl Options {
    /// Splits the CONF of a module that is a layer (`,key=value:CHAIN`, or CHAIN alone)
    /// into the options and the rest of the chain.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for options that cannot be read.
    pub fn split<'a>(layer: &str, conf: Option<&'a str>) -> Result<(Self, &'a str)> {
        match conf {
            Some(conf) if conf.starts_with(',') => Self::parse(layer, conf),
            conf => Ok((Self::parse(layer, "")?.0, conf.unwrap_or_default())),
        }
    }

    /// Parses `,key=value,key:REST` (the text after a layer's name) up to the colon or
    /// the end, and returns the options and REST.
    pub(crate) fn parse<'a>(layer: &str, text: &'a str) -> Result<(Self, &'a str)> {
        let (fields, rest) = fields(layer, text)?;
        let mut given: Vec<(String, Option<String>)> = Vec::new();
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (&*field, None),
            };
            if key.is_empty() {
                return Err(not_a_pair(layer, &field));
            }
            if given.iter().any(|(seen, _)| seen == key) {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    format!("the layer {layer} is given {key} twice"),
                ));
            }
            given.push((key.to_owned(), value));
        }
        let options = Self {
            layer: layer.to_owned(),
            given,
            known: Vec::new(),
        };
        Ok((options, rest))
    }

    /// Returns the options that were given and not taken, in order: each key with its
    /// value, if it has one.
    pub fn given(&self) -> &[(String, Option<String>)] {
        &self.given
    }

    /// Takes the value of `key`, if it was given as `key=value`.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let at = self
            .given
            .iter()
            .position(|(given, value)| given == key && value.is_some())?;
        self.given.remove(at).1
    }

    /// Takes `key`, if it was given without a value, and returns whether it was.
    pub fn take_flag(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        let at = self
            .given
            .iter()
            .position(|(given, value)| given == key && value.is_none());
        at.map(|at| self.given.remove(at)).is_some()
    }

    /// Takes the value of `key` as a number from `least` to `most`; returns `default`
    /// if the key was not given.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for any other value.
    pub fn take_number(
        &mut self,
        key: &'static str,
        (least, most): (u64, u64),
        default: u64,
    ) -> Result<u64> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.bad_value(key, &value, &format!("a number from {least} to {most}"))),
        }
    }

    /// Returns the error for a value that `key` cannot have; `allowed` describes the
    /// values that it can have.
    pub fn bad_value(&self, key: &str, value: &str, allowed: &str) -> Error {
        pairs::bad_value(&format!("the layer {}", self.layer), key, value, allowed)
    }

    /// Checks that no option is left that the layer does not know.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`], which names the key and the keys that exist.
    pub fn finish(&self) -> Result<()> {
        let Some((key, value)) = self.given.first() else {
            return Ok(());
        };
        if !self.known.contains(&key.as_str()) {
            return Err(pairs::unknown_key(
                &format!("the layer {}", self.layer),
                key,
                &self.known,
            ));
        }
        match value {
            None => Err(not_a_pair(&self.layer, key)),
            Some(value) => Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "the layer {}: {key} takes no value, and is given \"{value}\"",
                    self.layer
                ),
            )),
        }
    }
}

/// Returns the fields between commas, and the text after the colon that ends them.
fn fields<'a>(layer: &str, text: &'a str) -> Result<(Vec<String>, &'a str)> {
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
    Ok((fields, rest))
}

fn not_a_pair(layer: &str, field: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("\"{field}\" of the layer {layer} is not of the form key=value"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Given = Vec<(String, Option<String>)>;

    fn parse(text: &str) -> Result<(Given, String)> {
        let (options, rest) = Options::parse("layer", text)?;
        Ok((options.given, rest.to_owned()))
    }

    /// Returns the message of a layer with the option `file` for this text.
    fn message(text: &str) -> String {
        let read = Options::parse("layer", text).and_then(|(mut options, _)| {
            options.take("file");
            options.finish()
        });
        let error = read.expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        error.to_string()
    }

    fn pair(key: &str, value: &str) -> (String, Option<String>) {
        (key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn what_follows_the_options_is_left_verbatim() {
        let (given, rest) = parse(",a=1,b=:swtpm:path=\\,x").expect("options");
        assert_eq!(given, [pair("a", "1"), pair("b", "")]);
        assert_eq!(rest, "swtpm:path=\\,x");
        assert_eq!(parse("").expect("none").1, "");
        assert_eq!(parse(":null").expect("none"), (vec![], "null".into()));
    }

    #[test]
    fn a_backslash_escapes_the_comma_the_colon_and_itself_and_nothing_else() {
        let (given, rest) = parse(r",file=a\,b\:c\\d=e:null").expect("options");
        assert_eq!(given, [pair("file", r"a,b:c\d=e")]);
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
    fn a_key_without_a_value_is_a_flag_and_a_flag_takes_no_value() {
        let (mut options, _) = Options::parse("fault", ",drop,nth=2").expect("options");
        assert!(options.take_flag("drop"));
        assert_eq!(options.take_number("nth", (1, 9), 1).ok(), Some(2));
        options.finish().expect("nothing is left");
        let (mut options, _) = Options::parse("fault", ",drop=1").expect("options");
        assert!(!options.take_flag("drop"));
        let told = options.finish().expect_err("a mistake").to_string();
        assert_eq!(
            told,
            "the layer fault: drop takes no value, and is given \"1\""
        );
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

    #[test]
    fn a_module_that_is_a_layer_finds_its_options_and_the_rest_in_its_conf() {
        let (options, chain) = Options::split("retry", Some(",times=3:libtpms")).expect("options");
        assert_eq!(options.given(), [pair("times", "3")]);
        assert_eq!(chain, "libtpms");
        for (conf, rest) in [
            (None, ""),
            (Some(""), ""),
            (Some("swtpm:port=1"), "swtpm:port=1"),
        ] {
            let (options, chain) = Options::split("retry", conf).expect("none");
            assert!(options.given().is_empty());
            assert_eq!(chain, rest);
        }
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
            let (given, found) = parse(&text).expect("options");
            prop_assert_eq!(given, [("key".to_owned(), Some(value))]);
            prop_assert_eq!(found, rest);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[,:].*") {
            let _ = parse(&text);
        }
    }
}
