// SPDX-License-Identifier: BSD-2-Clause
//! The table, in Markdown.

use std::time::Duration;

/// What one row found.
pub struct Row {
    pub ours: f64,
    /// What it is held against, and what that is.
    pub theirs: Option<(f64, &'static str)>,
    pub unit: Unit,
    pub limit: Limit,
}

#[derive(Clone, Copy)]
pub enum Unit {
    /// Nanoseconds, printed in what fits.
    Time,
    Calls,
    Instructions,
    KiB,
    PerSecond,
}

/// What is to be reached.
#[derive(Clone, Copy)]
pub enum Limit {
    /// At most so much of what it is held against.
    Ratio(f64),
    /// At most so much.
    Value(f64),
    None,
}

pub fn head() {
    println!("| measured | rusttcti | held against | | ratio | to reach | |");
    println!("| --- | ---: | ---: | --- | ---: | ---: | --- |");
}

pub fn row(name: &str, row: &Row) {
    let ratio = row.theirs.map(|(theirs, _)| row.ours / theirs);
    let (to_reach, reached) = match row.limit {
        Limit::Ratio(limit) => (
            format!("{limit:.2}"),
            Some(ratio.is_some_and(|ratio| ratio <= limit)),
        ),
        Limit::Value(limit) => (text(limit, row.unit), Some(row.ours <= limit)),
        Limit::None => (String::new(), None),
    };
    println!(
        "| {name} | {} | {} | {} | {} | {to_reach} | {} |",
        text(row.ours, row.unit),
        row.theirs
            .map_or(String::new(), |(theirs, _)| text(theirs, row.unit)),
        row.theirs.map_or("", |(_, what)| what),
        ratio.map_or(String::new(), precise),
        match reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        },
    );
}

/// A row with nothing to hold it against on this machine.
pub fn without(name: &str) {
    println!("| {name} | | | not on this machine | | | |");
}

pub fn foot(time: Duration) {
    println!(
        "\nMedians, taken in turn in one run of {} s.",
        time.as_secs()
    );
}

/// Two digits behind the point, and three where that would be 0.00.
fn precise(ratio: f64) -> String {
    if ratio < 0.095 {
        format!("{ratio:.4}")
    } else {
        format!("{ratio:.2}")
    }
}

fn text(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time if value < 1e3 => format!("{value:.0} ns"),
        Unit::Time if value < 1e5 => format!("{:.2} µs", value / 1e3),
        Unit::Time if value < 1e6 => format!("{:.0} µs", value / 1e3),
        Unit::Time => format!("{:.2} ms", value / 1e6),
        Unit::Calls => format!("{value:.2}"),
        Unit::Instructions => format!("{value:.0}"),
        Unit::KiB => format!("{value:.0} KiB"),
        Unit::PerSecond => format!("{:.0} k/s", value / 1e3),
    }
}
