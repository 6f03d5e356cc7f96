// SPDX-License-Identifier: BSD-2-Clause
//! Measures two things in turn, so that other load on the machine affects both.

use std::time::Instant;

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians of `rounds` values each of `ours` and of `theirs`. Each is first
/// in every other round; a round to warm up is not counted.
pub fn in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> f64,
    mut theirs: impl FnMut() -> f64,
) -> (f64, f64) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    ours();
    theirs();
    for round in 0..rounds {
        if round % 2 == 0 {
            a.push(ours());
            b.push(theirs());
        } else {
            b.push(theirs());
            a.push(ours());
        }
    }
    (median(a), median(b))
}

/// The nanoseconds that one of `times` calls takes.
pub fn each(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}
