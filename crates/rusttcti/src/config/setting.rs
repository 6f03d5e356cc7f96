// SPDX-License-Identifier: BSD-2-Clause
//! The settings, each stated once: config_help is composed from them, the messages for
//! unknown keys list them, and the manual page's options are made from them (`make
//! man`).

#![forbid(unsafe_code)]

use std::ffi::CStr;

/// A part of a configuration that a user may set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The key, as in `key=value`; empty if the configuration is the value alone.
    pub(crate) key: &'static str,
    /// The placeholder for the value in explanations, as in `PORT`; empty if the key
    /// stands alone.
    pub(crate) value: &'static str,
    /// The default; empty if there is none.
    pub(crate) default: &'static str,
    /// The description with units and range, in sentences, for the manual page.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) text: &'static str,
}

/// Returns the keys of settings; a value without a key has none.
pub(crate) fn keys(settings: &[Setting]) -> Vec<&'static str> {
    let keys = settings.iter().map(|setting| setting.key);
    keys.filter(|key| !key.is_empty()).collect()
}

/// A text that is composed at compile time.
pub(crate) struct Text {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Text {
    /// The capacity in bytes, with a NUL at the end. A longer text does not compile.
    const CAPACITY: usize = 4096;

    pub(crate) const fn new(text: &str) -> Self {
        let empty = Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        };
        empty.and(text)
    }

    pub(crate) const fn and(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            self.bytes[self.len] = text[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    /// Appends the settings, in one line: `host=HOST (default localhost), …`.
    pub(crate) const fn and_settings(mut self, settings: &[Setting]) -> Self {
        let mut at = 0;
        while at < settings.len() {
            let setting = &settings[at];
            if at > 0 {
                self = self.and(", ");
            }
            self = self.and(setting.key);
            if !setting.key.is_empty() && !setting.value.is_empty() {
                self = self.and("=");
            }
            self = self.and(setting.value);
            if !setting.default.is_empty() {
                self = self.and(" (default ").and(setting.default).and(")");
            }
            at += 1;
        }
        self
    }

    pub(crate) const fn as_c_str(&self) -> &CStr {
        match CStr::from_bytes_until_nul(&self.bytes) {
            Ok(text) => text,
            Err(_) => panic!("the text is too long"),
        }
    }
}

/// Returns the config_help of a transport.
pub(crate) const fn help(settings: &[Setting]) -> Text {
    Text::new("").and_settings(settings)
}
