// SPDX-License-Identifier: BSD-2-Clause
//! The common parts of the CONFs of `spidev` and `i2c`: a path, options, `share=0|1`.

#![forbid(unsafe_code)]

use crate::config::setting::Setting;
use crate::{Result, config};

/// Whether programs take turns.
pub(crate) const SHARE: Setting = Setting {
    key: "share",
    value: "0|1",
    default: "0",
    text: "With 0, the device file is locked while a context is open, and other programs are \
           refused. With 1, it is locked for each command only, so programs that all set it \
           take turns. Each of them then sees what the others load into the TPM.",
};

/// Splits CONF into its path, which stands first and has no `=`, and the rest.
pub(in super::super) fn path_and_options(conf: &str) -> (Option<&str>, &str) {
    let (first, rest) = conf.split_once(',').unwrap_or((conf, ""));
    match first {
        "" => (None, rest),
        first if first.contains('=') => (None, conf),
        path => (Some(path), rest),
    }
}

/// Reads the value of `share`.
pub(in super::super) fn share(who: &str, value: &str) -> Result<bool> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(config::bad_value(who, "share", value, "0 or 1")),
    }
}
