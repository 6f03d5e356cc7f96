// SPDX-License-Identifier: BSD-2-Clause
//! `rusttcti-trace` by the layer's name: `cargo run --example trace -- FILE.pcapng`.

#[path = "rusttcti-trace.rs"]
mod rusttcti_trace;

fn main() -> std::process::ExitCode {
    rusttcti_trace::main()
}
