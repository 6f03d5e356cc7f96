// SPDX-License-Identifier: BSD-2-Clause
//! The selection of the commands that a fault applies to.

#![forbid(unsafe_code)]

use crate::config::Options;
use crate::wire::{CommandCode, Header};
use crate::{Error, ErrorKind, Result};

/// Selects commands, and counts those that match.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The command that matches; `None` is any.
    on: Option<CommandCode>,
    selection: Selection,
    /// How many commands matched so far.
    matched: u64,
}

/// The selection among the commands that match.
#[derive(Clone, Debug)]
enum Selection {
    Always,
    /// Only the match with this number, from 1.
    Nth(u64),
    /// Each match whose number can be divided by this one.
    Every(u64),
    Chance {
        /// The number below which a random 64-bit number selects the command.
        strikes: u128,
        numbers: Numbers,
    },
}

/// Numbers that look random and are the same for each seed (SplitMix64).
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

impl Rule {
    /// Reads `on`, `nth`, `every`, `chance` and `seed`.
    pub(super) fn parse(options: &mut Options) -> Result<Self> {
        let on = match options.take("on") {
            None => None,
            Some(on) if on == "all" => None,
            Some(on) => Some(on.parse().map_err(|error: Error| {
                Error::new(
                    ErrorKind::BadValue,
                    format!("the layer fault: on=\"{on}\" is not allowed: {error}"),
                )
            })?),
        };
        let nth = options.take_number("nth", (1, u64::MAX), 0)?;
        let every = options.take_number("every", (1, u64::MAX), 0)?;
        let chance = options.take("chance");
        let seed = options.take("seed");
        let given = [nth > 0, every > 0, chance.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Error::new(
                ErrorKind::BadValue,
                "the layer fault takes one of nth=, every= and chance= (to have several faults, \
                 put several of these layers in the chain)",
            ));
        }
        let selection = match (nth, every, chance) {
            (1.., _, _) => Selection::Nth(nth),
            (_, 1.., _) => Selection::Every(every),
            (_, _, Some(chance)) => return Self::by_chance(on, &chance, seed, options),
            _ => Selection::Always,
        };
        if seed.is_some() {
            return Err(Error::new(
                ErrorKind::BadValue,
                "the layer fault: seed= goes with chance= alone",
            ));
        }
        Ok(Self {
            on,
            selection,
            matched: 0,
        })
    }

    fn by_chance(
        on: Option<CommandCode>,
        chance: &str,
        seed: Option<String>,
        options: &Options,
    ) -> Result<Self> {
        let allowed = "a number from 0 to 1, such as 0.25";
        let strikes = share(chance).ok_or_else(|| options.bad_value("chance", chance, allowed))?;
        let seed = match seed.as_deref().map(|seed| (seed, seed.parse::<u64>())) {
            None => 0,
            Some((_, Ok(seed))) => seed,
            Some((seed, Err(_))) => {
                return Err(options.bad_value("seed", seed, "a number below 2 to the power of 64"));
            }
        };
        let selection = Selection::Chance {
            strikes,
            numbers: Numbers(seed),
        };
        Ok(Self {
            on,
            selection,
            matched: 0,
        })
    }

    /// Counts the command if it matches, and returns whether the fault applies to it.
    pub(super) fn strikes(&mut self, command: &[u8]) -> bool {
        let code = Header::parse(command).map(|header| CommandCode(header.code));
        if self.on.is_some() && self.on != code {
            return false;
        }
        self.matched += 1;
        match &mut self.selection {
            Selection::Always => true,
            Selection::Nth(nth) => self.matched == *nth,
            Selection::Every(every) => self.matched % *every == 0,
            Selection::Chance { strikes, numbers } => u128::from(numbers.next()) < *strikes,
        }
    }
}

/// Reads a decimal number from 0 to 1, and returns it as a share of 2^64 random
/// numbers.
fn share(decimal: &str) -> Option<u128> {
    const MOST_DIGITS: usize = 18;
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_empty = whole.is_empty() && fraction.is_empty();
    if is_empty || !is_number(whole) || !is_number(fraction) || fraction.len() > MOST_DIGITS {
        return None;
    }
    let digits = format!("{whole}{fraction:0<MOST_DIGITS$}");
    let one = 10_u128.pow(MOST_DIGITS as u32);
    let share: u128 = digits.parse().ok().filter(|share| *share <= one)?;
    Some((share << 64) / one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CommandBuilder;

    fn rule(options: &str) -> Result<Rule> {
        let (mut options, _) = Options::parse("fault", options)?;
        let rule = Rule::parse(&mut options)?;
        options.finish().map(|()| rule)
    }

    /// Returns which of `of` GetRandom commands are selected, from 1.
    fn struck(options: &str, of: usize) -> Vec<usize> {
        let mut rule = rule(options).expect("a rule");
        let command = CommandBuilder::new(CommandCode::GET_RANDOM).u16(8).build();
        (1..=of).filter(|_| rule.strikes(&command)).collect()
    }

    #[test]
    fn nth_is_one_alone_and_every_is_each_nth() {
        assert_eq!(struck("", 3), [1, 2, 3]);
        assert_eq!(struck(",nth=2", 9), [2]);
        assert_eq!(struck(",every=3", 9), [3, 6, 9]);
    }

    #[test]
    fn a_command_is_named_or_numbered_and_others_are_not_counted() {
        for on in ["GetRandom", "TPM2_CC_GetRandom", "0x17b", "all"] {
            assert_eq!(struck(&format!(",on={on},nth=2"), 3), [2], "{on}");
        }
        assert!(struck(",on=Startup", 3).is_empty());
        let mut rule = rule(",on=GetRandom,nth=2").expect("a rule");
        let other = CommandBuilder::startup(0).build();
        let command = CommandBuilder::new(CommandCode::GET_RANDOM).u16(8).build();
        let struck = [&command, &other, &other, &command].map(|each| rule.strikes(each));
        assert_eq!(struck, [false, false, false, true]);
    }

    #[test]
    fn chance_is_the_same_for_a_seed_and_as_frequent_as_it_says() {
        let once = struck(",chance=0.25,seed=7", 4000);
        assert_eq!(once, struck(",chance=0.25,seed=7", 4000));
        assert_ne!(once, struck(",chance=0.25,seed=8", 4000));
        assert!((800..1200).contains(&once.len()), "{}", once.len());
        assert!(struck(",chance=0", 4000).is_empty());
        assert_eq!(struck(",chance=1", 4000).len(), 4000);
        assert_eq!(struck(",chance=1.0", 4000).len(), 4000);
        assert_eq!(share("0.5"), Some(1 << 63));
        assert_eq!(share(".25"), Some(1 << 62));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (options, told) in [
            (",on=GetRandum", "there is no TPM command \"GetRandum\""),
            (",nth=0", "a number from 1"),
            (",nth=1,every=2", "takes one of nth=, every= and chance="),
            (",chance=2", "a number from 0 to 1"),
            (",chance=NaN", "a number from 0 to 1"),
            (",chance=", "a number from 0 to 1"),
            (",chance=1.000001", "a number from 0 to 1"),
            (",chance=1e-3", "a number from 0 to 1"),
            (",chance=0.5,seed=x", "seed is a number"),
            (",seed=1", "seed= goes with chance= alone"),
        ] {
            let error = rule(options).expect_err(options);
            assert_eq!(error.kind(), ErrorKind::BadValue);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
