// SPDX-License-Identifier: BSD-2-Clause
//! The results of the checks: a table for people, JSON for programs.

use std::fmt;

use super::Check;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise is kept.
    Pass,
    /// The promise is broken; the text is the observation.
    Fail(String),
    /// The promise does not concern this TCTI; the text is the reason.
    NotApplicable(String),
}

/// A check and its outcome.
#[derive(Clone, Debug)]
pub struct Row {
    /// The check.
    pub check: Check,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcomes of all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// The TCTI, as it was named.
    pub subject: String,
    /// A row for each check.
    pub rows: Vec<Row>,
}

impl Report {
    /// Returns whether no check failed, and at least one passed.
    pub fn passed(&self) -> bool {
        self.count("pass") > 0 && self.count("fail") == 0
    }

    /// Returns how many checks have the outcome `word`: pass, fail or n/a.
    pub fn count(&self, word: &str) -> usize {
        let words = self.rows.iter().map(|row| row.outcome.word());
        words.filter(|found| *found == word).count()
    }

    /// Returns the report as JSON: `{"subject", "passed", "checks": [{"name",
    /// "promise", "outcome", "detail"}]}`.
    pub fn to_json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            format!(
                "    {{\"name\": {}, \"promise\": {}, \"outcome\": {}, \"detail\": {}}}",
                quoted(row.check.name),
                quoted(row.check.promise),
                quoted(row.outcome.word()),
                quoted(row.outcome.detail())
            )
        });
        format!(
            "{{\n  \"subject\": {},\n  \"passed\": {},\n  \"checks\": [\n{}\n  ]\n}}\n",
            quoted(&self.subject),
            self.passed(),
            rows.collect::<Vec<_>>().join(",\n")
        )
    }
}

impl Outcome {
    /// Returns the outcome in a word: pass, fail or n/a.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::NotApplicable(_) => "n/a",
        }
    }

    /// Returns the observation, or the reason why the check does not apply; empty for a
    /// pass.
    pub fn detail(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail(text) | Self::NotApplicable(text) => text,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { check, outcome } in &self.rows {
            writeln!(
                f,
                "{:<5} {:<36} {}",
                outcome.word(),
                check.name,
                check.promise
            )?;
            if !outcome.detail().is_empty() {
                writeln!(f, "      {:<36} -> {}", "", outcome.detail())?;
            }
        }
        writeln!(
            f,
            "{}: {} passed, {} failed, {} not applicable",
            self.subject,
            self.count("pass"),
            self.count("fail"),
            self.count("n/a")
        )
    }
}

/// Returns `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if (c as u32) < 0x20 => quoted += &format!("\\u{:04x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        let check = Check {
            name: "a-check",
            promise: "A promise.",
            run: |_| Ok(()),
        };
        Report {
            subject: "x".to_owned(),
            rows: vec![Row { check, outcome }],
        }
    }

    #[test]
    fn a_failure_and_a_report_without_any_pass_have_not_passed() {
        assert!(report(Outcome::Pass).passed());
        assert!(!report(Outcome::Fail("so".to_owned())).passed());
        assert!(!report(Outcome::NotApplicable("so".to_owned())).passed());
    }

    #[test]
    fn json_is_escaped() {
        let json = report(Outcome::Fail("a \"quote\"\n".to_owned())).to_json();
        assert!(json.contains(r#""detail": "a \"quote\"\u000a""#), "{json}");
    }
}
