// SPDX-License-Identifier: BSD-2-Clause
//! Writes names and values, all in one line or each field in its own line.

#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

/// The text of a command or a response, as it grows.
#[derive(Debug)]
pub(super) struct Fields {
    text: String,
    /// Whether each field has a line of its own.
    verbose: bool,
    /// How many structures are open around the next field.
    depth: usize,
    /// Whether the next field is the first of its structure.
    first: bool,
}

impl Fields {
    /// Begins without any; `depth` is the indentation of lines.
    pub(super) fn new(verbose: bool) -> Self {
        Self {
            text: String::new(),
            verbose,
            depth: 1,
            first: true,
        }
    }

    /// Returns what was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Writes `name=value`.
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.text, "{value}");
    }

    /// Writes a value without a name.
    pub(super) fn value(&mut self, value: impl Display) {
        self.separate();
        let _ = write!(self.text, "{value}");
    }

    /// Begins a structure: `name={`.
    pub(super) fn open(&mut self, name: &str) {
        self.name(name);
        if !self.verbose {
            self.text.push('{');
        }
        self.depth += 1;
        self.first = !self.verbose;
    }

    /// Ends the structure that was begun last.
    pub(super) fn close(&mut self) {
        self.depth -= 1;
        self.first = false;
        if !self.verbose {
            self.text.push('}');
        }
    }

    fn name(&mut self, name: &str) {
        self.separate();
        let separator = if self.verbose { ": " } else { "=" };
        let _ = write!(self.text, "{name}{separator}");
    }

    fn separate(&mut self) {
        if self.verbose {
            let _ = write!(self.text, "\n{:1$}", "", 2 * self.depth);
        } else if !self.first {
            self.text.push_str(", ");
        }
        self.first = false;
    }
}

/// Bytes in hexadecimal, the first 64 at most, with the number of all.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 64;
        if self.0.is_empty() {
            return f.write_str("<empty>");
        }
        for byte in self.0.iter().take(SHOWN) {
            write!(f, "{byte:02x}")?;
        }
        match self.0.len() {
            length if length > SHOWN => write!(f, "...({length} bytes)"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(verbose: bool) -> String {
        let mut fields = Fields::new(verbose);
        fields.field("a", 1);
        fields.open("b");
        fields.field("c", 2);
        fields.field("d", 3);
        fields.close();
        fields.value("e");
        fields.finish()
    }

    #[test]
    fn fields_stand_in_one_line_or_each_in_its_own() {
        assert_eq!(written(false), "a=1, b={c=2, d=3}, e");
        assert_eq!(written(true), "\n  a: 1\n  b: \n    c: 2\n    d: 3\n  e");
    }

    #[test]
    fn many_bytes_are_cut_with_their_number() {
        assert_eq!(Hex(&[]).to_string(), "<empty>");
        assert_eq!(Hex(&[0xab, 1]).to_string(), "ab01");
        assert!(Hex(&[0; 100]).to_string().ends_with("00...(100 bytes)"));
    }
}
