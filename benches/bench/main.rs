// SPDX-License-Identifier: BSD-2-Clause
//! Measures the figures of `make bench`, and prints them as a table. Each row is
//! measured in turn with its comparison (Debian's tpm2-tss modules, or the same work in
//! C), in one run.
//!
//! `cargo bench -- WORD` measures the rows with WORD in their name.

mod bare;
mod counts;
mod inside;
mod measure;
mod objects;
mod peers;
mod rows;
mod sessions;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        // What the measuring process starts itself as.
        Some("--inside") => {
            inside::run(&args[1..]);
            return ExitCode::SUCCESS;
        }
        _ if args.iter().any(|arg| arg == "--bench") => {}
        // `cargo test --all-targets` starts benchmarks, too: nothing to test.
        _ => return ExitCode::SUCCESS,
    }
    let words: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();

    std::panic::set_hook(Box::new(|panic| eprintln!("bench: {panic}")));

    table::head();
    let start = Instant::now();
    let mut failed = Vec::new();
    for row in rows::ALL {
        if !words.is_empty() && !words.iter().any(|word| row.name.contains(*word)) {
            continue;
        }
        // One row that cannot be measured leaves the others.
        match catch_unwind(AssertUnwindSafe(row.measure)) {
            Ok(Some(result)) => table::row(row.name, &result),
            Ok(None) => table::without(row.name),
            Err(_) => failed.push(row.name),
        }
    }
    table::foot(start.elapsed());
    for name in &failed {
        eprintln!("bench: not measured, see above: {name}");
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
