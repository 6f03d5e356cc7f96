// SPDX-License-Identifier: BSD-2-Clause
//! The configuration in a line, for programs that ask the module for it.

#![forbid(unsafe_code)]

use super::lists::{Entry, LAYERS, TRANSPORTS};
use crate::config::setting::Text;

/// What a chain may be (`TSS2_TCTI_INFO.config_help`).
#[doc(hidden)]
pub const HELP: &std::ffi::CStr = HELP_TEXT.as_c_str();

const HELP_TEXT: &Text = &Text::new("[LAYER[,KEY=VALUE...]:]... [TRANSPORT[:CONF]]; ")
    .and("without a transport, the system's TPM device. Transports and their CONF: ")
    .and_entries(TRANSPORTS)
    .and("; any C module's name: its own. Layers and their options: ")
    .and_entries(LAYERS)
    .and(".");

impl Text {
    const fn and_entries<Parse>(mut self, entries: &[Entry<Parse>]) -> Self {
        let mut at = 0;
        while at < entries.len() {
            let entry = &entries[at];
            self = self.and(if at > 0 { "; " } else { "" });
            self = self.and(entry.name).and(": ");
            self = match entry.settings {
                [] => self.and("no options"),
                settings => self.and_settings(settings),
            };
            at += 1;
        }
        self
    }
}
