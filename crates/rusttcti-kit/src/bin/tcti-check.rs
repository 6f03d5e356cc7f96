// SPDX-License-Identifier: BSD-2-Clause
//! Runs the kit's checks on a TCTI module, in C or in Rust: `tcti-check -T NAME:CONF`.

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;

use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::raw_server::RawServer;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::{Subject, check_only, checks};

const USAGE: &str = "\
usage: tcti-check -T NAME[:CONF] [--peer libtpms|swtpm] [--json] [CHECK...]
       tcti-check --list

Runs every check, or those whose names hold one of the words CHECK, on the TCTI
module NAME: a file, or libtss2-tcti-NAME.so.0. A TPM 2.0 that may be used freely
must be at its other end.

  --peer swtpm    starts an swtpm for the time of the checks
  --peer libtpms  starts a server over an embedded TPM, in the protocol of mssim
                  for a NAME that ends so, else in swtpm's
                  In CONF, {} becomes host=HOST,port=PORT of the peer; without {}
                  that is CONF itself, or is added behind its last colon
  --json          prints JSON instead of a table
  --list          prints the names of the checks and what each promises

Ends with 0 if no check failed, 1 if one did, 2 for a mistake in the arguments.";

struct Arguments {
    name: String,
    conf: Option<String>,
    peer: Option<String>,
    json: bool,
    words: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--list"] {
        for check in checks() {
            println!("{:<36} {}", check.name, check.promise);
        }
        return ExitCode::SUCCESS;
    }
    match parse(arguments).and_then(run) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("tcti-check: {text}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Arguments, String> {
    let (mut tcti, mut peer, mut json, mut words) = (None, None, false, Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} needs a value\n{USAGE}"))
        };
        match &*argument {
            "-T" | "--tcti" => tcti = Some(value()?),
            "--peer" => peer = Some(value()?),
            "--json" => json = true,
            "-h" | "--help" => return Err(USAGE.to_owned()),
            option if option.starts_with('-') => {
                return Err(format!("there is no option \"{option}\"\n{USAGE}"));
            }
            _ => words.push(argument),
        }
    }
    let tcti = tcti.ok_or_else(|| format!("-T NAME:CONF is missing\n{USAGE}"))?;
    let (name, conf) = match tcti.split_once(':') {
        Some((name, conf)) => (name.to_owned(), Some(conf.to_owned())),
        None => (tcti, None),
    };
    Ok(Arguments {
        name,
        conf,
        peer,
        json,
        words,
    })
}

/// A TPM at the other end of a socket, for the duration of the checks.
enum Peer {
    Swtpm(RefCell<Swtpm>),
    Simulator(Simulator),
    Raw(RawServer),
}

impl Peer {
    fn start(kind: &str, is_mssim: bool) -> Result<Self, String> {
        match (kind, is_mssim) {
            ("swtpm", false) => Ok(Self::Swtpm(RefCell::new(Swtpm::tcp()))),
            ("swtpm", true) => Err("swtpm does not speak the protocol of mssim".to_owned()),
            ("libtpms", true) => Ok(Self::Simulator(Simulator::started())),
            ("libtpms", false) => RawServer::tcp().map(Self::Raw).map_err(|e| e.report()),
            (kind, _) => Err(format!("there is no peer \"{kind}\" (swtpm, libtpms)")),
        }
    }

    fn conf(&self) -> String {
        match self {
            Self::Swtpm(peer) => peer.borrow().conf(),
            Self::Simulator(peer) => peer.conf(),
            Self::Raw(peer) => peer.conf(),
        }
    }

    /// Ends what a check may have left in the peer.
    fn renew(&self) {
        match self {
            Self::Swtpm(peer) => {
                let mut peer = peer.borrow_mut();
                peer.stop();
                peer.start();
            }
            Self::Simulator(peer) => peer.renew(),
            // It keeps nothing but the objects that are loaded.
            Self::Raw(_) => {}
        }
    }
}

/// Returns CONF with a placeholder for the peer's address.
fn template(name: &str, conf: Option<&str>) -> String {
    match conf {
        Some(conf) if conf.contains("{}") => conf.to_owned(),
        // In a chain, the transport's own CONF follows the last colon.
        Some(conf) if name == "rusttcti" => format!("{}:{{}}", conf.trim_end_matches(':')),
        Some(conf) if !conf.is_empty() => format!("{conf},{{}}"),
        _ => "{}".to_owned(),
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let (name, conf) = (&arguments.name, arguments.conf.as_deref());
    let ends_in = |transport: &str| {
        let last = conf.unwrap_or_default().trim_end_matches(":{}");
        name.ends_with(transport)
            || name.contains(&format!("-{transport}."))
            || name == "rusttcti" && last.rsplit(':').next() == Some(transport)
    };
    let peer = arguments.peer.as_deref();
    let peer = peer
        .map(|kind| Peer::start(kind, ends_in("mssim")))
        .transpose()?
        .map(Rc::new);
    let tcti = match (&peer, conf) {
        (Some(peer), conf) => format!(
            "{name}:{}",
            template(name, conf).replace("{}", &peer.conf())
        ),
        (None, Some(conf)) => format!("{name}:{conf}"),
        (None, None) => name.clone(),
    };
    let mut subject = Subject::module(&tcti).map_err(|error| error.report())?;
    if peer.is_some() && ends_in("swtpm") {
        subject = subject.with_peers(&template(name, conf));
    }
    if let Some(peer) = peer {
        subject = subject.with_renewal(move || peer.renew());
    }
    let words: Vec<&str> = arguments.words.iter().map(|word| &**word).collect();
    let report = check_only(&subject, &words);
    if report.rows.is_empty() {
        return Err(format!(
            "no check has \"{}\" in its name",
            words.join("\", \"")
        ));
    }
    match arguments.json {
        true => print!("{}", report.to_json()),
        false => print!("{report}"),
    }
    Ok(match report.count("fail") {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
