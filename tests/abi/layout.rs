// SPDX-License-Identifier: BSD-2-Clause
//! The C structs of the stack have the layout of the installed headers on this
//! processor: the sizes and offsets that Rust uses become assertions that a C compiler
//! (`CC`, else `cc`) checks.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::offset_of;
use std::process::{Command, Stdio};

use tss_esapi_sys::{
    TSS2_ABI_VERSION, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_INFO,
    TSS2_TCTI_POLL_HANDLE, size_t,
};

/// Adds what Rust says of a struct: its size, alignment, and where its fields are.
macro_rules! claim {
    ($claims:ident, $name:ident { $($field:ident),* }) => {
        claim!($claims, sizeof($name), size_of::<$name>());
        claim!($claims, _Alignof($name), align_of::<$name>());
        $(claim!($claims, offsetof($name, $field), offset_of!($name, $field));)*
    };
    ($claims:ident, $c:expr, $rust:expr) => {{
        let c = stringify!($c);
        writeln!($claims, "_Static_assert({c} == {}, \"{c} is {} in Rust\");", $rust, $rust)
            .expect("a string");
    }};
}

/// Returns the C compiler's messages about `claims`; empty if they hold.
fn objections(claims: &str) -> String {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut cc = Command::new(&compiler)
        .args(["-std=c11", "-fsyntax-only", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    cc.stdin
        .take()
        .expect("piped")
        .write_all(claims.as_bytes())
        .expect("cc reads");
    let output = cc.wait_with_output().expect("cc ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), text.is_empty(), "{text}");
    text
}

const HEADERS: &str = "#include <stddef.h>\n#include <tss2/tss2_tcti.h>\n";

#[test]
fn the_structs_that_programs_and_modules_share_are_those_of_the_headers() {
    let mut claims = HEADERS.to_owned();
    claim!(claims, sizeof(size_t), size_of::<size_t>());
    claim!(
        claims,
        TSS2_ABI_VERSION {
            tssCreator,
            tssFamily,
            tssLevel,
            tssVersion
        }
    );
    claim!(
        claims,
        TSS2_TCTI_CONTEXT_COMMON_V1 {
            magic,
            version,
            transmit,
            receive,
            finalize,
            cancel,
            getPollHandles,
            setLocality
        }
    );
    claim!(claims, TSS2_TCTI_CONTEXT_COMMON_V2 { v1, makeSticky });
    claim!(
        claims,
        TSS2_TCTI_INFO {
            version,
            name,
            description,
            config_help,
            init
        }
    );
    claim!(
        claims,
        TSS2_TCTI_POLL_HANDLE {
            fd,
            events,
            revents
        }
    );
    assert_eq!(objections(&claims), "");
}

#[test]
fn a_struct_that_is_laid_out_otherwise_is_noticed() {
    let mut claims = HEADERS.to_owned();
    claim!(
        claims,
        offsetof(TSS2_TCTI_CONTEXT_COMMON_V2, makeSticky),
        offset_of!(TSS2_TCTI_CONTEXT_COMMON_V2, makeSticky) + 1
    );
    assert!(objections(&claims).contains("makeSticky"));
}
