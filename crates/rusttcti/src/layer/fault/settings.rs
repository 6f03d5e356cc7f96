// SPDX-License-Identifier: BSD-2-Clause
//! The options of a fault.

#![forbid(unsafe_code)]

use crate::config::setting::Setting;

const fn setting(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    text: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        default,
        text,
    }
}

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "on",
        "COMMAND",
        "all",
        "The command that matches: its name, as in GetRandom, its code, as in 0x17b, or all.",
    ),
    setting("nth", "N", "", "Only the N-th match fails, counted from 1."),
    setting("every", "N", "", "Every N-th match fails."),
    setting(
        "chance",
        "P",
        "",
        "Each match fails with this probability, from 0 to 1. Without nth=, every= and \
         chance= each match fails.",
    ),
    setting(
        "seed",
        "N",
        "0",
        "The seed of the random numbers that chance= draws.",
    ),
    setting(
        "rc",
        "CODE",
        "",
        "The response is this response code and nothing more, as in 0x922 or 2338.",
    ),
    setting(
        "delay",
        "MS",
        "",
        "The message comes this many milliseconds later, 1 to 86400000.",
    ),
    setting("drop", "", "", "The message is lost."),
    setting(
        "cut",
        "N",
        "",
        "This many bytes are missing at the message's end.",
    ),
    setting(
        "flip",
        "BIT",
        "",
        "This bit of the message is inverted, counted from 0, the first byte's highest. Bits 48 \
         to 79 are those of the code.",
    ),
    setting("grow", "N", "", "This many zeros follow the message."),
    setting(
        "close",
        "",
        "",
        "The connection is lost: this command and all that follow fail with \
         TSS2_TCTI_RC_NO_CONNECTION.",
    ),
    setting(
        "reset",
        "",
        "",
        "The TPM is power-cycled. It needs a transport with reset.",
    ),
    setting(
        "side",
        "command|response",
        "response",
        "The message that is changed, delayed or lost: the command, which the TPM then does not \
         run, or gets late or changed; or the response, when the TPM has run the command.",
    ),
];
