// SPDX-License-Identifier: BSD-2-Clause
//! C and C++ programs, built with the installed header and pkg-config file, load the
//! module in every possible way, under valgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusttcti_kit::stage::{Stage, output};

#[derive(Clone, Copy)]
enum Language {
    C,
    Cpp,
}

/// A staged install and the programs made with it.
struct Workshop(Stage);

impl Workshop {
    fn new() -> Self {
        Self(Stage::new())
    }

    /// Compiles tests/c/NAME.c, with no warning let through.
    fn build(&self, name: &str, language: Language, linked: bool) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/c")
            .join(format!("{name}.c"));
        let program = self.0.path().join(name);
        let mut compiler = match language {
            Language::C => Command::new("cc"),
            Language::Cpp => Command::new("c++"),
        };
        match language {
            Language::C => compiler.arg("-std=gnu11"),
            Language::Cpp => compiler.args(["-std=gnu++17", "-x", "c++"]),
        };
        compiler
            .args(["-Wall", "-Wextra", "-Werror", "-g", "-o"])
            .args([&program, &source])
            .args(linked.then_some("-DLINKED"))
            .args(self.0.pkg_config("--cflags"))
            .args(
                linked
                    .then(|| self.0.pkg_config("--libs"))
                    .into_iter()
                    .flatten(),
            )
            .args(["-ltss2-tctildr", "-ldl"]);
        output(&mut compiler);
        program
    }

    /// A program that finds the staged module by its name.
    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", self.0.lib())
            .env("TSS2_LOG", "all+NONE");
        command
    }

    /// The same under valgrind, where any wrong access and any leak fails.
    fn run_under_valgrind(&self, program: &Path) -> Command {
        let mut command = self.run(Path::new("valgrind"));
        command
            .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
            .args(["--show-leak-kinds=definite,indirect,possible"])
            .args(["--errors-for-leak-kinds=definite,indirect,possible"])
            .arg(program);
        command
    }
}

fn promises_are_kept(language: Language, linked: bool, way: &str) {
    let workshop = Workshop::new();
    let program = workshop.build("contract", language, linked);
    output(workshop.run_under_valgrind(&program).args([way, "libtpms"]));
}

#[test]
fn a_c_program_linked_with_the_module() {
    promises_are_kept(Language::C, true, "linked");
}

#[test]
fn a_c_program_that_loads_the_module_at_once() {
    promises_are_kept(Language::C, false, "now");
}

#[test]
fn a_c_program_that_loads_the_module_lazily() {
    promises_are_kept(Language::C, false, "lazy");
}

#[test]
fn a_c_program_that_asks_tctildr_for_the_module() {
    promises_are_kept(Language::C, false, "ldr");
}

#[test]
fn a_cpp_program_linked_with_the_module() {
    promises_are_kept(Language::Cpp, true, "linked");
}

#[test]
fn a_cpp_program_that_loads_the_module_at_once() {
    promises_are_kept(Language::Cpp, false, "now");
}

#[test]
fn a_cpp_program_that_asks_tctildr_for_the_module() {
    promises_are_kept(Language::Cpp, false, "ldr");
}

#[test]
fn the_header_stands_alone_in_strict_c_and_cpp() {
    let stage = Stage::new();
    let source = stage.path().join("alone.c");
    std::fs::write(&source, "#include <tss2/tss2_tcti_rusttcti.h>\n").expect("a file");
    for (compiler, language, standard) in [
        ("cc", "c", "-std=c99"),
        ("cc", "c", "-std=c17"),
        ("c++", "c++", "-std=c++11"),
    ] {
        output(
            Command::new(compiler)
                .args(["-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror"])
                .args(if language == "c" {
                    &["-Wstrict-prototypes"][..]
                } else {
                    &[]
                })
                .args([standard, "-x", language])
                .args(stage.pkg_config("--cflags"))
                .arg(&source),
        );
    }
}

#[test]
fn thousands_of_loads_and_unloads_leave_nothing() {
    let workshop = Workshop::new();
    let program = workshop.build("cycles", Language::C, false);
    for (way, rounds, chain) in [
        ("now", "4000", "null"),
        ("lazy", "1000", "null"),
        ("ldr", "4000", "null"),
        ("now", "150", "libtpms"),
        ("ldr", "150", "libtpms"),
    ] {
        let told = output(workshop.run(&program).args([way, rounds, chain]));
        print!("{way} {chain}: {told}");
    }
}
