// SPDX-License-Identifier: BSD-2-Clause
//! `make install` and `make uninstall`, in a staged DESTDIR.

use std::collections::BTreeSet;
use std::path::Path;

use rusttcti_kit::{module, stage::Stage};

/// Every file and link below `dir`, by its path from there.
fn tree(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").display().to_string();
                found.insert(name);
            }
        }
    }
    found
}

/// The manual's pages: one of each function that has a name of its own (all
/// TCTI modules export Tss2_Tcti_Info), and the one of the module.
fn manual(mandir: &str) -> impl Iterator<Item = String> {
    let functions = include_str!("exports.txt").lines();
    functions
        .filter(|name| *name != "Tss2_Tcti_Info")
        .map(|name| format!("man3/{name}.3"))
        .chain(["man7/tss2-tcti-rusttcti.7".to_owned()])
        .map(move |page| format!("{mandir}/{page}"))
}

fn readelf_dynamic(file: &Path) -> String {
    rusttcti_kit::stage::output(std::process::Command::new("readelf").arg("-dW").arg(file))
}

#[test]
fn an_install_is_the_library_its_links_the_header_the_pkg_config_file_and_the_manual() {
    let stage = Stage::with(&["PREFIX=/opt/x", "LIBDIR=/opt/x/lib"]);
    let version = env!("CARGO_PKG_VERSION");
    let (_, minor_patch) = version.split_once('.').expect("a version");
    let real = format!("opt/x/lib/libtss2-tcti-rusttcti.so.0.{minor_patch}");
    let mut wanted: BTreeSet<String> = [
        real.as_str(),
        "opt/x/lib/libtss2-tcti-rusttcti.so.0",
        "opt/x/lib/libtss2-tcti-rusttcti.so",
        "opt/x/lib/pkgconfig/tss2-tcti-rusttcti.pc",
        "opt/x/include/tss2/tss2_tcti_rusttcti.h",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    wanted.extend(manual("opt/x/share/man"));
    assert_eq!(tree(stage.path()), wanted);

    let lib = stage.path().join("opt/x/lib");
    for link in ["libtss2-tcti-rusttcti.so.0", "libtss2-tcti-rusttcti.so"] {
        let end = std::fs::canonicalize(lib.join(link)).expect("the link leads somewhere");
        let real = std::fs::canonicalize(stage.path().join(&real)).expect("the library");
        assert_eq!(end, real, "{link}");
    }
    let dynamic = readelf_dynamic(&stage.path().join(&real));
    assert!(
        dynamic.contains("Library soname: [libtss2-tcti-rusttcti.so.0]"),
        "{dynamic}"
    );
}

#[test]
fn a_plain_cargo_build_leaves_the_module_that_make_installs() {
    let target = tempfile::tempdir().expect("a folder");
    let steps = rusttcti_kit::stage::output(
        rusttcti_kit::stage::make("install")
            .args(["--dry-run", "CARGO=cargo"])
            .env("CARGO_TARGET_DIR", target.path()),
    );
    let built = steps.lines().find(|line| line.contains(" cargo build "));
    let (_, options) = built
        .and_then(|line| line.split_once(" cargo build "))
        .expect("a build");
    assert_eq!(options.trim(), "--release --locked");
    let plain = target.path().join("release/libtss2_tcti_rusttcti.so");
    let installs = format!("install -m 644 \"{}\" ", plain.display());
    assert!(steps.contains(&installs), "{steps}");

    // No other package of the workspace leaves a library there.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in std::fs::read_dir(root.join("crates")).expect("crates/") {
        let manifest = folder.expect("a folder").path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        assert!(!text.contains("cdylib"), "{}", manifest.display());
    }
}

#[test]
fn a_library_without_the_c_functions_is_not_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libother.so");
    rusttcti_kit::stage::output(
        std::process::Command::new("cc")
            .args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(&library),
    );
    let stage = folder.path().join("stage");
    let refused = rusttcti_kit::stage::make("install")
        .arg(format!("MODULE={}", library.display()))
        .arg(format!("DESTDIR={}", stage.display()))
        .output()
        .expect("make runs");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("exports no Tss2_Tcti_Info"), "{said}");
    assert!(!stage.exists());
}

#[test]
fn uninstall_leaves_no_file() {
    let variables = ["PREFIX=/usr", "LIBDIR=/usr/lib/some-multiarch"];
    let stage = Stage::with(&variables);
    assert!(tree(stage.path()).len() > 5);
    stage.make("uninstall", &variables);
    assert_eq!(tree(stage.path()), BTreeSet::new());
}

#[test]
fn the_default_is_usr_local_and_debian_s_multiarch_folder() {
    let stage = Stage::with(&[]);
    let multiarch =
        rusttcti_kit::stage::output(std::process::Command::new("cc").arg("-print-multiarch"));
    let lib = Path::new("usr/local/lib").join(multiarch.trim());
    assert!(
        stage
            .path()
            .join(lib)
            .join("libtss2-tcti-rusttcti.so")
            .exists()
    );
}

#[test]
fn pkg_config_says_where_things_are_and_which_version() {
    let stage = Stage::with(&["PREFIX=/usr", "LIBDIR=/usr/lib"]);
    let ask = |what: &str| {
        rusttcti_kit::stage::output(
            std::process::Command::new("pkg-config")
                .env("PKG_CONFIG_PATH", stage.path().join("usr/lib/pkgconfig"))
                .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
                .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
                .args([what, "tss2-tcti-rusttcti"]),
        )
    };
    assert_eq!(ask("--modversion").trim(), env!("CARGO_PKG_VERSION"));
    assert!(ask("--libs").contains("-ltss2-tcti-rusttcti"));
    assert!(ask("--libs").contains("-L/usr/lib"));
    assert!(ask("--cflags").contains("-I/usr/include"));
}

#[test]
fn the_module_exports_what_is_documented_and_nothing_else() {
    let symbols = rusttcti_kit::stage::output(
        std::process::Command::new("nm")
            .args(["-D", "--defined-only", "--format=posix"])
            .arg(module::file()),
    );
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let documented: BTreeSet<&str> = include_str!("exports.txt").lines().collect();
    assert_eq!(
        exported, documented,
        "tests/install/exports.txt is the list"
    );

    let header = include_str!("../../include/tss2/tss2_tcti_rusttcti.h");
    for name in documented {
        assert!(
            header.contains(&format!("{name}(")),
            "{name} is in the header"
        );
    }
}

#[test]
fn the_module_is_stripped_and_links_neither_libtpms_nor_esys() {
    let sections = rusttcti_kit::stage::output(
        std::process::Command::new("readelf")
            .args(["-SW"])
            .arg(module::file()),
    );
    assert!(!sections.contains(".symtab"), "{sections}");
    assert!(!sections.contains(".debug_info"), "{sections}");
    let dynamic = readelf_dynamic(&module::file());
    for library in [
        "libtpms",
        "libtss2-esys",
        "libtss2-sys",
        "libssl",
        "libcrypto",
    ] {
        assert!(!dynamic.contains(library), "{dynamic}");
    }
}

#[test]
fn the_module_is_small() {
    const LIMIT: u64 = 3 << 19; // 1.5 MiB
    let size = module::file().metadata().expect("the module").len();
    assert!(size < LIMIT, "{size} bytes");
}

#[test]
fn the_module_needs_no_newer_glibc_than_the_readme_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("README.md");
    let promised = readme
        .split("needs glibc ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .map(version)
        .expect("README.md says which glibc the module needs");
    let symbols = rusttcti_kit::stage::output(
        std::process::Command::new("objdump")
            .arg("-T")
            .arg(module::file()),
    );
    let needed = symbols
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(version)
        .max()
        .expect("symbols of glibc");
    assert_eq!(needed, promised);
}

/// `2.34` as numbers.
fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .map(|part| part.parse().expect("a number"))
        .collect()
}
