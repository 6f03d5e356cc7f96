// SPDX-License-Identifier: BSD-2-Clause
//! The manual pages are well-formed, and their examples work.
//! crates/rusttcti/src/chain/manual.rs tests that they agree with the sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusttcti_kit::{module, ports, stage};

const MODULE: &str = "tss2-tcti-rusttcti.7";
const FUNCTIONS: &str = "Tss2_Tcti_Rusttcti_Init.3";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("a page")
}

/// Returns every page that is checked in.
fn pages() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("man/");
    entries.map(|entry| entry.expect("a page").path()).collect()
}

/// Returns the examples as a reader sees them: `heading` and `text` of each.
fn examples(page: &str) -> Vec<(String, String)> {
    let (_, section) = page.split_once(".SH EXAMPLES\n").expect("examples");
    let section = section.split("\n.SH ").next().expect("a section");
    let mut heading = String::new();
    let mut found = Vec::new();
    let mut lines = section.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix(".SS ") {
            heading = text.replace("\\-", "-");
        }
        if line == ".EX" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != ".EE").collect();
            let text = text.join("\n").replace("\\-", "-").replace("\\e", "\\") + "\n";
            found.push((heading.clone(), text));
        }
    }
    found
}

#[test]
fn groff_and_mandoc_find_nothing_to_warn_of() {
    for page in [MODULE, FUNCTIONS] {
        let page = folder().join(page);
        let said = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .output()
            .expect("man runs (Debian's package man-db)");
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{}: {words}", page.display());
        assert_eq!(words, "", "{}", page.display());
        stage::output(
            Command::new("mandoc")
                .args(["-Tlint", "-Wstyle"])
                .arg(&page),
        );
    }
}

#[test]
fn man_finds_the_installed_page_by_each_function_s_name() {
    let stage = stage::Stage::new();
    for page in pages() {
        let name = page.file_stem().and_then(|name| name.to_str());
        let name = name.expect("a page's name").to_owned();
        let section = page.extension().and_then(|section| section.to_str());
        let shown = Command::new("man")
            .arg("-M")
            .arg(stage.path().join("usr/share/man"))
            .args(["--warnings", section.expect("a section"), &name])
            .env("MANWIDTH", "80")
            .output()
            .expect("man runs (Debian's package man-db)");
        let shown = rusttcti_kit::proc::printed(shown);
        assert!(shown.contains(&name), "{name}: {shown}");
        assert!(shown.contains("SEE ALSO"), "{name}: {shown}");
    }
}

#[test]
fn every_function_has_a_page_and_every_page_a_function() {
    let mut documented: Vec<String> = pages()
        .iter()
        .filter_map(|page| {
            page.file_name()?
                .to_str()?
                .strip_suffix(".3")
                .map(str::to_owned)
        })
        .collect();
    documented.sort();
    let exported: Vec<&str> = include_str!("../install/exports.txt").lines().collect();
    let text = page(FUNCTIONS);
    for name in &exported {
        assert!(text.contains(&format!("{name}(")), "{name} in SYNOPSIS");
    }
    // All TCTI modules export it; a page of that name would be everybody's.
    let own: Vec<&str> = exported
        .into_iter()
        .filter(|name| *name != "Tss2_Tcti_Info")
        .collect();
    assert_eq!(documented, own);
    // Each of them is in NAME, where apropos looks.
    let (_, rest) = text.split_once(".SH NAME\n").expect("NAME");
    let (name, _) = rest.split_once(".SH").expect("SYNOPSIS");
    for function in own {
        assert!(name.contains(function), "{function}");
    }
}

/// Declarations of functions, each in one line with single spaces.
fn declarations(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found: Vec<String> = words
        .join(" ")
        .split_inclusive(';')
        .map(|declaration| declaration.trim().to_owned())
        .filter(|declaration| declaration.contains("Tss2_Tcti_"))
        .collect();
    found.sort();
    found
}

#[test]
fn the_synopsis_is_what_the_header_declares() {
    let header = include_str!("../../include/tss2/tss2_tcti_rusttcti.h");
    let code: String = header
        .split("*/")
        .filter_map(|part| part.split("/*").next())
        .collect();
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.starts_with(['#', '}']) && !line.starts_with("extern"))
        .collect();
    let declared = declarations(&code.join("\n"));

    let text = page(FUNCTIONS);
    let (_, rest) = text.split_once(".SH SYNOPSIS\n").expect("a synopsis");
    let (synopsis, _) = rest.split_once(".fi\n").expect("its end");
    // .BI sets its arguments, which may be quoted, without spaces between.
    let shown: Vec<String> = synopsis
        .lines()
        .filter(|line| !line.contains("#include"))
        .filter_map(|line| match line.strip_prefix(".BI ") {
            Some(arguments) => Some(arguments),
            None => line.strip_prefix(".B "),
        })
        .map(|line| match line.contains('"') {
            true => {
                let quoted = |at: usize| at % 2 == 1;
                let parts = line.split('"').enumerate();
                let parts = parts.map(|(at, part)| match quoted(at) {
                    true => part.to_owned(),
                    false => part.replace(' ', ""),
                });
                parts.collect()
            }
            false => line.to_owned(),
        })
        .collect();
    assert_eq!(declarations(&shown.join("\n")), declared);
    assert!(declared.len() > 9, "{declared:?}");
}

#[test]
fn the_program_in_the_manual_compiles_and_runs() {
    let stage = stage::Stage::new();
    let shown = examples(&page(FUNCTIONS));
    let [(_, program), (_, compiled)] = &shown[..] else {
        panic!("a program and how it is compiled: {shown:?}")
    };
    std::fs::write(stage.path().join("random.c"), program).expect("a file");
    let strict = compiled.replacen("cc ", "cc -Wall -Wextra -Werror ", 1);
    stage::output(
        Command::new("sh")
            .args(["-c", &strict])
            .current_dir(stage.path())
            .env("PKG_CONFIG_PATH", stage.lib().join("pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", stage.path())
            .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
            .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1"),
    );
    let run = |arguments: &[&str]| {
        module::program(&stage.path().join("random").display().to_string())
            .args(arguments)
            .output()
            .expect("it runs")
    };
    let random = rusttcti_kit::proc::printed(run(&[]));
    assert!(is_16_bytes(random.trim()), "{random}");
    // Its own way to tell of a failure.
    let refused = run(&["libtpms:/nosuchfolder/state"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("init: 0xa00"), "{said}");
    assert!(said.contains("/nosuchfolder/state"), "{said}");
}

/// Returns whether these are 16 bytes in hexadecimal.
fn is_16_bytes(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Runs an example as a script, where $HOME is an empty folder. A daemon that it
/// started does not outlive it.
fn script(text: &str) -> String {
    const END: &str = "trap '[ ! -e $HOME/mytpm/pid ] || kill $(cat $HOME/mytpm/pid)' EXIT\n";
    let home = tempfile::tempdir().expect("a folder");
    let port = ports::free();
    let text = text
        .replace("kill $(cat $HOME/mytpm/pid)\n", "") // END's to do
        .replace("2321", &port.to_string())
        .replace("2322", &(port + 1).to_string());
    stage::output(
        module::program("sh")
            .args(["-euc", &format!("{END}{text}")])
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("RUSTTCTI_FSYNC", "0"),
    )
}

#[test]
fn the_examples_in_the_manual_work() {
    let mut ran = Vec::new();
    for (heading, text) in examples(&page(MODULE)) {
        match heading.as_str() {
            "tpm2-tools" if text.contains("pcrread") => {
                let told = script(&text);
                assert!(told.contains("23: 0x"), "{told}");
                assert!(!told.contains(&"0".repeat(64)), "{told}");
            }
            "tpm2-tools" | "swtpm" => {
                let random = script(&text);
                assert!(is_16_bytes(&random), "{random}");
            }
            "A recording for Wireshark" => {
                let told = script(&text);
                assert!(told.contains("TPM"), "{told}");
            }
            "tpm2-openssl" => {
                script(&format!("{text}grep -q 'BEGIN TSS2 PRIVATE KEY' key.pem"));
            }
            "The TPM of another machine" => {
                let random = script(&format!("{SSH}{text}"));
                assert!(is_16_bytes(&random), "{random}");
            }
            "ESYS" => compile_and_run(&text),
            "FAPI" => {
                script(&fapi(&text));
            }
            "tpm2-pkcs11" => {
                let told = script(&text);
                assert!(told.contains("Key pair generated"), "{told}");
            }
            "tpm2-abrmd" => {
                let random = script(&on_a_bus(&text));
                assert!(is_16_bytes(&random), "{random}");
            }
            heading => panic!("no test runs the examples of \"{heading}\""),
        }
        ran.push(heading);
    }
    assert_eq!(ran.len(), 10, "{ran:?}");
}

/// An ssh whose other machine is this one, with a TPM.
const SSH: &str = "mkdir bin
printf '#!/bin/sh\\nshift\\nTPM2TOOLS_TCTI=rusttcti:libtpms exec \"$@\"\\n' >bin/ssh
chmod +x bin/ssh
export PATH=$PWD/bin:$PATH
";

/// Lines of ESYS, in a program that fails if they do.
fn compile_and_run(lines: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let source = program.with_extension("c");
    let text = format!(
        "#include <tss2/tss2_esys.h>\n#include <tss2/tss2_tctildr.h>\nint main(void)\n{{\n\
         {lines}int failed = esys == NULL;\n\
         Esys_Finalize(&esys);\nTss2_TctiLdr_Finalize(&tcti);\nreturn failed;\n}}\n"
    );
    std::fs::write(&source, text).expect("a file");
    stage::output(
        Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .args([&program, &source])
            .args(["-ltss2-esys", "-ltss2-tctildr"]),
    );
    stage::output(&mut module::program(&program.display().to_string()));
}

/// A script that provisions FAPI with these lines in Debian's configuration,
/// all folders and files in $HOME.
fn fapi(lines: &str) -> String {
    let lines = lines.replace("/var/lib/my/tpm.state", "$HOME/tpm.state");
    format!(
        "mkdir user system log
sed -e \"s|~/.local/share/tpm2-tss/user/keystore|$HOME/user|\" \\
    -e \"s|/var/lib/tpm2-tss/system/keystore|$HOME/system|\" \\
    -e \"s|/run/tpm2-tss/eventlog/|$HOME/log|\" \\
    -e '/\"tcti\":/d' -e '/^{{/d' /etc/tpm2-tss/fapi-config.json >rest
{{ echo '{{'; cat <<END
{lines}END
cat rest; }} >fapi.json
export TSS2_FAPICONF=$HOME/fapi.json
tss2_provision
test -s tpm.state
"
    )
}

/// A script that runs tpm2-abrmd on a bus of its own, and the second line once
/// it is there.
fn on_a_bus(text: &str) -> String {
    let (daemon, client) = text.split_once('\n').expect("two lines");
    let daemon = daemon.replace("tpm2-abrmd ", "tpm2-abrmd --allow-root ");
    let client = client.trim_end();
    format!(
        "cat >session <<'END'
{daemon}
tries=300
until {client} 2>said; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || {{ cat said; break; }}
    sleep 0.1
done
kill $!
wait
END
dbus-run-session -- sh -u session
"
    )
}
