// SPDX-License-Identifier: BSD-2-Clause
//! C modules loaded by name from Rust, ours among them.

use rusttcti::{Error, ErrorKind, Tcti, TctiLdr};
use rusttcti_kit::commands::get_random;

/// Our module, loaded as any C module is. It is a second copy of the library.
fn ours(conf: &str) -> rusttcti::Result<TctiLdr> {
    let file = rusttcti_kit::module::file();
    TctiLdr::new(file.to_str().expect("UTF-8"), Some(conf))
}

#[test]
fn a_module_is_loaded_used_and_closed() {
    let mut tcti = ours("null").expect("it loads");
    assert!(!tcti.as_ptr().is_null());
    let error = tcti.transmit(&get_random(16)).expect_err("null refuses");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
    tcti.finalize().expect("closed");
    tcti.finalize().expect("closed already");
    assert_eq!(
        tcti.transmit(&[]).expect_err("closed").kind(),
        ErrorKind::BadSequence
    );
}

#[test]
fn name_and_conf_are_what_was_given() {
    let file = rusttcti_kit::module::file();
    let file = file.to_str().expect("UTF-8");
    for (conf, name_conf) in [
        (Some("null"), format!("{file}:null")),
        (Some("null:"), format!("{file}:null:")),
        (Some("null:a:b=c"), format!("{file}:null:a:b=c")),
    ] {
        for tcti in [TctiLdr::new(file, conf), TctiLdr::parse(&name_conf)] {
            let tcti = tcti.expect("it loads");
            assert_eq!(tcti.name(), file);
            assert_eq!(tcti.conf(), conf);
            assert_eq!(tcti.name_conf(), name_conf);
        }
    }
}

#[test]
fn a_name_alone_has_no_conf_and_an_empty_conf_is_one() {
    // Debian's cmd module refuses both, but tells which it was given.
    let none = TctiLdr::parse("nosuchmodule")
        .expect_err("there is none")
        .to_string();
    assert_eq!(none, "cannot load the TCTI \"nosuchmodule\"");
    let empty = TctiLdr::parse("nosuchmodule:")
        .expect_err("there is none")
        .to_string();
    assert_eq!(empty, "cannot load the TCTI \"nosuchmodule:\"");
}

#[test]
fn what_is_available_is_told_with_what_it_says_of_itself() {
    let file = rusttcti_kit::module::file();
    let file = file.to_str().expect("UTF-8");
    assert!(TctiLdr::is_available(file));
    let info = TctiLdr::info(file).expect("ours");
    assert_eq!((info.version, info.name.as_str()), (2, "rusttcti"));
    assert!(
        info.config_help.contains("; libtpms: PATH ("),
        "{}",
        info.config_help
    );
    assert!(TctiLdr::is_available("swtpm"), "tpm2-tss's own");

    assert!(!TctiLdr::is_available("nosuchmodule"));
    assert!(!TctiLdr::is_available("no\0name"));
    assert!(TctiLdr::info("nosuchmodule").is_err());
}

#[test]
fn a_nul_in_a_name_or_conf_is_a_bad_value() {
    let kind = |result: Result<TctiLdr, Error>| result.expect_err("a NUL").kind();
    assert_eq!(kind(TctiLdr::new("a\0b", None)), ErrorKind::BadValue);
    assert_eq!(
        kind(TctiLdr::new("swtpm", Some("path=\0"))),
        ErrorKind::BadValue
    );
}

#[test]
fn an_init_of_another_copy_of_ours_tells_its_words() {
    let error = ours("nosuchtpm").expect_err("there is none");
    assert!(
        error
            .report()
            .contains("no transport or layer \"nosuchtpm\""),
        "{}",
        error.report()
    );
}

#[test]
fn a_call_on_another_copy_of_ours_tells_its_words() {
    let mut tcti = ours("null").expect("it loads");
    let error = tcti
        .receive(&mut [0; 64], None)
        .expect_err("nothing was sent");
    assert_eq!(error.kind(), ErrorKind::BadSequence);
    assert!(error.to_string().contains("no command was sent"), "{error}");
}

#[test]
fn a_c_module_s_code_is_told_in_tss2_rc_s_words() {
    let error = TctiLdr::new("swtpm", Some("path=/nonexistent/socket")).expect_err("no peer");
    assert_eq!(error.rc(), Error::from_rc(error.rc()).rc());
    assert!(error.report().contains("tcti:"), "{}", error.report());
    assert!(error.report().contains("0x000a"), "{}", error.report());
}

#[test]
fn our_module_loads_itself_and_the_error_inside_comes_out_whole() {
    let file = rusttcti_kit::module::file();
    let inner = file.to_str().expect("UTF-8");
    let error = ours(&format!("{inner}:nosuchtpm")).expect_err("there is none");
    let report = error.report();
    assert_eq!(
        report
            .matches("no transport or layer \"nosuchtpm\"")
            .count(),
        1,
        "{report}"
    );
    let mut nested = ours(&format!("{inner}:null")).expect("it loads");
    let error = nested.transmit(&get_random(4)).expect_err("null refuses");
    assert!(
        error.to_string().contains("the null transport has no TPM"),
        "{error}"
    );
}

#[test]
fn a_context_of_another_copy_with_the_same_magic_is_not_taken_for_an_own_one() {
    type Reset = unsafe extern "C" fn(*mut tss_esapi_sys::TSS2_TCTI_CONTEXT) -> u32;
    let context = rusttcti::Context::new(rusttcti::transport::null::Null::default());
    // SAFETY: our own module, whose function has this signature; the context is
    // this program's own and lives on.
    let code = unsafe {
        let module =
            libloading::os::unix::Library::new(rusttcti_kit::module::file()).expect("ours");
        let reset = module.get::<Reset>(b"Tss2_Tcti_Rusttcti_Reset");
        // The module learns the magic by its first context.
        drop(ours("null").expect("it loads"));
        reset.expect("Reset")(context.as_ptr())
    };
    assert_eq!(code, rusttcti_kit::vtable::rc::BAD_CONTEXT);
}

#[test]
fn a_library_that_is_no_module_is_not_said_to_be_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libempty.so");
    rusttcti_kit::stage::output(
        std::process::Command::new("cc")
            .args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(&library),
    );
    let refusal = |chain: &str| {
        let Err(error) = rusttcti::open(chain) else {
            panic!("{chain} opened")
        };
        assert_eq!(error.kind(), ErrorKind::BadValue);
        error.to_string()
    };
    let empty = refusal(library.to_str().expect("UTF-8"));
    assert!(empty.contains("exports no Tss2_Tcti_Info"), "{empty}");
    let missing = refusal(folder.path().join("none.so").to_str().expect("UTF-8"));
    assert!(missing.contains("no C module of that name"), "{missing}");
}
