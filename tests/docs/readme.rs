// SPDX-License-Identifier: BSD-2-Clause
//! The examples of README.md work: its transport equals the file in
//! examples/own-module, and the others are built and run.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusttcti_kit::{module, stage::output, swtpm::Swtpm};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// Returns the code blocks of README.md in this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n") + "\n");
        } else if line.starts_with("```") {
            let _ = lines.by_ref().take_while(|line| *line != "```").count();
        }
    }
    blocks
}

/// Returns whether these are 16 bytes in hexadecimal.
fn is_16_bytes(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Compiles examples/c/NAME.c as its head says.
fn c_example(name: &str, into: &Path) -> PathBuf {
    let flags = output(Command::new("pkg-config").args([
        "--cflags",
        "--libs",
        "tss2-esys",
        "tss2-tctildr",
        "tss2-rc",
    ]));
    let program = into.join(name);
    output(
        Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(root().join("examples/c").join(name).with_extension("c"))
            .args(flags.split_whitespace()),
    );
    program
}

#[test]
fn the_transport_in_the_readme_is_the_example() {
    let example = root().join("examples/own-module/src/lib.rs");
    let example = std::fs::read_to_string(example).expect("the example");
    let code = example.replace("// SPDX-License-Identifier: BSD-2-Clause\n", "");
    assert!(
        blocks("rust").contains(&code),
        "README.md shows another transport than examples/own-module/src/lib.rs"
    );
    // The transport, without what names it: its type, its trait, and what opens it.
    let begin = code.find("struct Bridge").expect("the transport");
    let end = code.find("rusttcti::export!").expect("its end");
    let lines = code[begin..end].lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.contains("&'static CStr"));
    assert!((15..=20).contains(&lines.count()), "about 20 lines");
}

#[test]
fn the_layer_in_the_readme_is_the_example() {
    let example = root().join("examples/count.rs");
    let example = std::fs::read_to_string(example).expect("the example");
    let begin = example.find("struct Count").expect("the layer");
    assert!(
        blocks("rust")
            .iter()
            .any(|block| block == &example[begin..]),
        "README.md shows another layer than examples/count.rs"
    );
}

#[test]
fn the_manifest_in_the_readme_makes_a_module() {
    let manifest = root().join("examples/own-module/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("the example's manifest");
    let blocks = blocks("toml");
    let shown = blocks.first().expect("a manifest in README.md");
    for line in shown.lines().filter(|line| !line.starts_with("rusttcti")) {
        assert!(
            manifest.contains(line),
            "the example's manifest has no {line}"
        );
    }
}

#[test]
fn the_errors_in_the_readme_are_what_is_said() {
    let blocks = blocks("console");
    let block = blocks.first().expect("a session in README.md");
    let mut commands = 0;
    let mut lines = block.lines();
    while let (Some(command), Some(words)) = (lines.next(), lines.next()) {
        let arguments = command
            .strip_prefix("$ tpm2_getrandom ")
            .expect("a command");
        let said = module::program("tpm2_getrandom")
            .args(arguments.split(' '))
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .output()
            .expect("tpm2_getrandom runs");
        assert!(!said.status.success(), "{command}");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains(words), "{command}: {said}");
        commands += 1;
    }
    assert!(commands > 0);
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let readme = readme();
    let named: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .collect();
    assert!(!named.is_empty());
    for target in named {
        let file = target.split('#').next().unwrap_or(target);
        assert!(root().join(file).exists(), "{file}");
    }
}

#[test]
fn tpm2_tools_load_a_transport_of_one_s_own() {
    let bridge = module::own();
    let tpm = Swtpm::tcp();
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(&bridge, folder.path().join("libtss2-tcti-bridge.so"))
        .expect("a link");
    let address = format!("localhost:{}", tpm.port());

    // By its file, and by its name.
    for tcti in [
        format!("{}:{address}", bridge.display()),
        format!("bridge:{address}"),
    ] {
        let random = output(
            Command::new("tpm2_getrandom")
                .args(["--hex", "16", "-T", &tcti])
                .env("LD_LIBRARY_PATH", folder.path()),
        );
        assert!(is_16_bytes(&random), "{tcti}: {random}");
    }

    drop(tpm);
    for (tcti, words) in [
        ("bridge".to_owned(), "bridge: needs HOST:PORT".to_owned()),
        (
            format!("bridge:{address}"),
            format!("bridge: cannot connect to {address}: Connection refused"),
        ),
    ] {
        let said = Command::new("tpm2_getrandom")
            .args(["--hex", "16", "-T", &tcti])
            .env("LD_LIBRARY_PATH", folder.path())
            .env_remove("TSS2_LOG")
            .output()
            .expect("tpm2_getrandom runs");
        assert!(!said.status.success());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains(&words), "{tcti}: {said}");
    }
}

#[test]
fn esys_in_c_gets_random_bytes_over_a_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = c_example("esys-getrandom", folder.path());
    let tpm = Swtpm::tcp();
    for chain in ["libtpms".to_owned(), format!("swtpm:{}", tpm.conf())] {
        let random = output(
            Command::new(&program)
                .arg(format!("rusttcti:{chain}"))
                .env("LD_LIBRARY_PATH", module::dir()),
        );
        assert!(is_16_bytes(random.trim()), "{chain}: {random}");
    }
}

#[test]
fn one_epoll_loop_in_c_serves_several_tpms() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = c_example("epoll", folder.path());
    let tpms = [Swtpm::tcp(), Swtpm::tcp(), Swtpm::unix()];
    let mut names: Vec<String> = tpms
        .iter()
        .map(|tpm| format!("rusttcti:swtpm:{}", tpm.conf()))
        .collect();
    names.push("rusttcti:libtpms".to_owned());
    // The loop has no end of its own if an answer never shows.
    let told = output(
        Command::new("timeout")
            .arg("30")
            .arg(&program)
            .args(&names)
            .env("LD_LIBRARY_PATH", module::dir()),
    );
    assert_eq!(told.lines().count(), names.len(), "{told}");
    for name in names {
        let random = told.lines().find_map(|line| line.strip_suffix(&name));
        assert!(
            random.is_some_and(|random| is_16_bytes(random.trim())),
            "{told}"
        );
    }
}
