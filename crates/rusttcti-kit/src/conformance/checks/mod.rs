// SPDX-License-Identifier: BSD-2-Clause
//! The checks, by subject.

mod arguments;
mod cancel;
mod descriptors;
mod finalize;
mod fork;
mod info;
mod init;
mod locality;
mod peers;
mod poll;
mod sequence;
mod signals;
mod sizes;
mod support;
mod threads;
mod timeouts;

use super::Check;

/// Returns all checks, in the order in which they run.
pub(super) fn all() -> Vec<Check> {
    let groups: [&[Check]; 15] = [
        info::CHECKS,
        init::CHECKS,
        sequence::CHECKS,
        arguments::CHECKS,
        sizes::CHECKS,
        timeouts::CHECKS,
        poll::CHECKS,
        cancel::CHECKS,
        locality::CHECKS,
        finalize::CHECKS,
        fork::CHECKS,
        signals::CHECKS,
        threads::CHECKS,
        descriptors::CHECKS,
        peers::CHECKS,
    ];
    groups.concat()
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_sixty_checks_or_more_with_names_of_their_own_and_whole_sentences() {
        let all = all();
        assert!(all.len() >= 60, "{}", all.len());
        let names: BTreeSet<&str> = all.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all.len());
        for check in all {
            assert!(check.promise.ends_with('.'), "{check:?}");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(check.name.chars().all(plain), "{check:?}");
        }
    }
}
