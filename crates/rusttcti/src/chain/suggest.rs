// SPDX-License-Identifier: BSD-2-Clause
//! Suggestions for an unknown name.

#![forbid(unsafe_code)]

/// Returns a sentence with the likely meaning of `name:conf`; `known` holds the names
/// of all transports and layers.
pub(super) fn suggestion(name: &str, conf: Option<&str>, known: &[&str]) -> Option<String> {
    if name.contains('/') {
        return Some(match name.starts_with("/dev/") {
            true => format!("the TPM behind a device is \"device:{name}\""),
            false => format!(
                "a TPM in software with its state in a file is \"libtpms:{name}\", a device \
                 \"device:{name}\""
            ),
        });
    }
    let whole = match conf {
        Some(conf) => format!("{name}:{conf}"),
        None => name.to_owned(),
    };
    if ["host=", "port=", "path="]
        .iter()
        .any(|key| name.starts_with(key))
    {
        return Some(format!(
            "an swtpm process at this address is \"swtpm:{whole}\", a simulator \"mssim:{whole}\""
        ));
    }
    if let Some(port) = conf.filter(|conf| conf.parse::<u16>().is_ok()) {
        return Some(format!(
            "an swtpm process at this address is \"swtpm:host={name},port={port}\""
        ));
    }
    if let Some(port) = conf.and_then(|conf| conf.strip_prefix("port=")) {
        return Some(format!(
            "an swtpm process at this address is \"swtpm:host={name},port={port}\""
        ));
    }
    let near = nearest(name, known);
    (!near.is_empty()).then(|| {
        let near: Vec<String> = near.iter().map(|name| format!("\"{name}\"")).collect();
        format!("did you mean {}?", near.join(" or "))
    })
}

/// Returns the names that are spelt almost like `name`, only the nearest; if there is
/// none, those that contain it.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let wanted = name.trim().to_lowercase();
    let distances = known.iter().map(|known| (distance(&wanted, known), *known));
    let most = (wanted.len() / 3).clamp(1, 2);
    let near: Vec<_> = distances
        .filter(|(distance, _)| *distance <= most)
        .collect();
    if let Some(least) = near.iter().map(|(distance, _)| *distance).min() {
        let nearest = near.iter().filter(|(distance, _)| *distance == least);
        return nearest.map(|(_, known)| *known).collect();
    }
    let within = known.iter().copied();
    within
        .filter(|known| wanted.len() >= 3 && known.contains(&wanted))
        .collect()
}

/// Returns how many letters must be changed, added, removed or swapped with their
/// neighbour to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for at in 1..=one.len() {
        let mut row = vec![at];
        for to in 1..=other.len() {
            let same = usize::from(one[at - 1] != other[to - 1]);
            let mut best = (rows[at - 1][to] + 1)
                .min(row[to - 1] + 1)
                .min(rows[at - 1][to - 1] + same);
            if at > 1 && to > 1 && one[at - 1] == other[to - 2] && one[at - 2] == other[to - 1] {
                best = best.min(rows[at - 2][to - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 8] = [
        "device", "swtpm", "mssim", "cmd", "libtpms", "null", "pcap", "flush",
    ];

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        for (wrong, right) in [
            ("libtpm", "\"libtpms\""),
            ("Libtpms", "\"libtpms\""),
            ("swtmp", "\"swtpm\""),
            ("LIBTPMS ", "\"libtpms\""),
            ("devcie", "\"device\""),
            ("tpm", "\"swtpm\" or \"libtpms\""),
        ] {
            let told = suggestion(wrong, None, &KNOWN);
            assert_eq!(told, Some(format!("did you mean {right}?")), "{wrong}");
        }
        for far in ["tabrmd", "x", "", "nosuchtpm"] {
            assert_eq!(suggestion(far, None, &KNOWN), None, "{far}");
        }
    }

    #[test]
    fn a_path_or_an_address_is_answered_with_the_transport_that_takes_it() {
        let told = |name, conf| suggestion(name, conf, &KNOWN).expect("an idea");
        assert!(told("/dev/tpm0", None).ends_with("\"device:/dev/tpm0\""));
        assert!(told("./my.tpm", None).contains("\"libtpms:./my.tpm\""));
        assert!(told("host=tpm,port=1", None).contains("\"swtpm:host=tpm,port=1\""));
        for conf in ["2321", "port=2321"] {
            let meant = "\"swtpm:host=localhost,port=2321\"";
            assert!(told("localhost", Some(conf)).ends_with(meant));
        }
    }
}
