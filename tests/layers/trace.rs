// SPDX-License-Identifier: BSD-2-Clause
//! The layer trace: the commands of tpm2-tools as text, without their secrets.

use std::path::Path;
use std::process::{Command, Output};

use rusttcti::Tcti;
use rusttcti_kit::module::{program, root};
use rusttcti_kit::proc::printed;

/// A folder with a TPM's state, a trace and a recording.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command line of tpm2-tools, traced with these options.
    fn run(&self, options: &str, line: &str, input: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut tool = program(words[0]);
        let tcti = format!("rusttcti:trace,file=trace{options}:pcap,file=log:rm:libtpms:state");
        tool.args(&words[1..]).env("TPM2TOOLS_TCTI", tcti);
        tool.current_dir(self.path());
        std::fs::write(self.path().join("input"), input).expect("written");
        let input = std::fs::File::open(self.path().join("input")).expect("a file");
        tool.stdin(input).output().expect("tpm2-tools run")
    }

    /// Runs a command line that must succeed, and returns its trace alone.
    fn trace(&self, line: &str) -> String {
        let _ = std::fs::remove_file(self.path().join("trace"));
        printed(self.run("", line, ""));
        self.read()
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.path().join("trace")).expect("a trace")
    }
}

/// The line of this command.
fn line<'a>(trace: &'a str, command: &str) -> &'a str {
    let start = format!("TPM2_{command}(");
    let found = trace.lines().find(|line| line.starts_with(&start));
    found.unwrap_or_else(|| panic!("no {command} in\n{trace}"))
}

#[test]
fn each_command_shows_the_arguments_that_it_was_given() {
    let scene = Scene::new();
    let trace = scene.trace(
        "tpm2_createprimary -Q -C e -G rsa2048:aes256cfb -g sha384 -c p.ctx -l sha1:1,2+sha256:16",
    );
    for words in [
        "CreatePrimary(endorsement, ",
        "type=rsa, nameAlg=sha384, \
         attributes=fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt",
        "symmetric=aes256cfb, scheme=null, keyBits=2048, exponent=65537",
        "creationPCR=sha1:1,2+sha256:16",
        "= TPM_RC_SUCCESS, handle=0x80",
        "[rsa2048, sha384]",
        "creationTicket={tag=creation, hierarchy=endorsement, ",
    ] {
        assert!(
            line(&trace, "CreatePrimary").contains(words),
            "{words}: {trace}"
        );
    }
    let trace = scene
        .trace("tpm2_nvdefine -Q 0x1500016 -C o -s 24 -a ownerread|ownerwrite|policywrite|no_da");
    let nv = "publicInfo={nvIndex=0x01500016, nameAlg=sha256, \
              attributes=ownerwrite|policywrite|ownerread|no_da, authPolicy=<empty>, dataSize=24}";
    assert!(line(&trace, "NV_DefineSpace").contains(nv), "{trace}");
    let trace = scene.trace(
        "tpm2_pcrextend \
         16:sha256=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    );
    let extend = line(&trace, "PCR_Extend");
    assert!(
        extend.contains("(PCR 16, digests=[sha256:000102030405060708090a0b0c"),
        "{trace}"
    );
    let trace = scene.trace("tpm2_getcap ecc-curves");
    assert!(
        line(&trace, "GetCapability").contains("ecc-curves, data=[p"),
        "{trace}"
    );
    let trace = scene.trace("tpm2_startauthsession -S s.ctx --policy-session -g sha512");
    let start = "(null, null, nonceCaller=";
    assert!(line(&trace, "StartAuthSession").contains(start), "{trace}");
    assert!(
        line(&trace, "StartAuthSession").contains("sessionType=policy"),
        "{trace}"
    );
    let trace = scene.trace("tpm2_policylocality -S s.ctx three");
    assert!(
        line(&trace, "PolicyLocality").contains("locality=three"),
        "{trace}"
    );
    let trace = scene.trace("tpm2_policycommandcode -S s.ctx TPM2_CC_Unseal");
    assert!(
        line(&trace, "PolicyCommandCode").contains("code=Unseal"),
        "{trace}"
    );
    let trace = scene.trace("tpm2_dictionarylockout -s -n 7 -t 11 -l 13");
    let parameters = "(lockout, newMaxTries=7, newRecoveryTime=11, lockoutRecovery=13)";
    assert!(
        line(&trace, "DictionaryAttackParameters").contains(parameters),
        "{trace}"
    );
}

#[test]
fn an_object_is_known_again_when_its_context_is_loaded() {
    let scene = Scene::new();
    let log = scene.path().join("log");
    // Each of tpm2-tools is a process, so one alone cannot know: the recording does.
    scene.trace("tpm2_createprimary -Q -C o -G ecc256 -g sha384 -c p.ctx");
    scene.trace("tpm2_readpublic -Q -c p.ctx");
    let recording = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--example", "rusttcti-trace"])
        .args(["--".as_ref(), log.as_os_str()])
        .current_dir(root())
        .output();
    let trace = printed(recording.expect("cargo runs"));
    for command in ["ContextSave", "ContextLoad", "ReadPublic"] {
        let known = "[ecc p256, sha384]";
        let line = trace.lines().find(|line| line.contains(command));
        assert!(
            line.is_some_and(|line| line.contains(known)),
            "{command}: {trace}"
        );
    }
}

#[test]
fn a_failure_says_which_handle_parameter_or_session_is_to_blame() {
    let scene = Scene::new();
    let output = scene.run("", "tpm2_readpublic -Q -c 0x81000123", "");
    assert!(!output.status.success());
    let trace = scene.read();
    assert!(
        line(&trace, "ReadPublic").contains("(0x81000123) = TPM_RC_HANDLE, handle 1"),
        "{trace}"
    );
    let output = scene.run("", "tpm2_changeauth -Q -c o -p wrong new", "");
    assert!(!output.status.success());
    let trace = scene.read();
    assert!(
        line(&trace, "HierarchyChangeAuth").contains("session 1"),
        "{trace}"
    );
}

/// Whatever tpm2-tools are given that is secret: in bytes, and in hexadecimal.
const SECRETS: [&str; 6] = [
    "hush-owner-password",
    "hush-object-password",
    "hush-sealed-in-the-tpm",
    "hush-kept-in-nv-memory",
    "hush-signed-by-hmac-ok",
    "hush-encrypted-by-rsa!",
];

fn use_secrets(scene: &Scene, options: &str) {
    let run = |line: &str, input: &str| printed(scene.run(options, line, input));
    let [owner, object, sealed, nv, hmac, rsa] = SECRETS;
    run(&format!("tpm2_changeauth -c o {owner}"), "");
    run(
        &format!("tpm2_createprimary -Q -C o -P {owner} -G rsa2048 -c p.ctx"),
        "",
    );
    run(
        &format!("tpm2_create -Q -C p.ctx -i - -p {object} -u s.pub -r s.priv"),
        sealed,
    );
    run("tpm2_load -Q -C p.ctx -u s.pub -r s.priv -c s.ctx", "");
    assert_eq!(
        run(&format!("tpm2_unseal -c s.ctx -p {object}"), ""),
        sealed
    );
    run(
        &format!("tpm2_nvdefine -Q 0x1500001 -C o -P {owner} -s 22 -a ownerread|ownerwrite"),
        "",
    );
    run(
        &format!("tpm2_nvwrite -Q 0x1500001 -C o -P {owner} -i -"),
        nv,
    );
    assert_eq!(
        run(&format!("tpm2_nvread 0x1500001 -C o -P {owner} -s 22"), ""),
        nv
    );
    run("tpm2_create -Q -C p.ctx -G hmac -u h.pub -r h.priv", "");
    run("tpm2_load -Q -C p.ctx -u h.pub -r h.priv -c h.ctx", "");
    run("tpm2_hmac -c h.ctx --hex", hmac);
    run(
        "tpm2_create -Q -C p.ctx -G rsa2048:rsaes -u r.pub -r r.priv",
        "",
    );
    run("tpm2_load -Q -C p.ctx -u r.pub -r r.priv -c r.ctx", "");
    std::fs::write(scene.path().join("message"), rsa).expect("written");
    run("tpm2_rsaencrypt -c r.ctx -o cipher message", "");
    assert_eq!(run("tpm2_rsadecrypt -c r.ctx cipher", ""), rsa);
    run("tpm2_hash -g sha256 --hex message", "");
    run("tpm2_stirrandom message", "");
    std::fs::write(scene.path().join("aes.key"), &rsa[..16]).expect("written");
    run(
        "tpm2_import -Q -C p.ctx -G aes -i aes.key -u i.pub -r i.priv",
        "",
    );
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn no_secret_of_tpm2_tools_is_shown() {
    let scene = Scene::new();
    use_secrets(&scene, "");
    let trace = scene.read();
    for secret in SECRETS.iter().chain(&["hush-encrypted-b"]) {
        assert!(!trace.contains(secret), "{secret}");
        assert!(!trace.contains(&hexadecimal(secret)), "{secret}");
    }
    assert!(
        line(&trace, "Unseal").contains("outData=<hidden, 22 bytes>"),
        "{trace}"
    );
    // It would be, if it was asked for: the test above can fail.
    let scene = Scene::new();
    use_secrets(&scene, ",secrets=show");
    let trace = scene.read();
    for secret in SECRETS {
        assert!(trace.contains(&hexadecimal(secret)), "{secret}: {trace}");
    }
}

#[test]
fn random_bytes_are_hidden_and_encrypted_parameters_say_so() {
    let scene = Scene::new();
    let trace = scene.trace("tpm2_getrandom --hex 20");
    assert!(
        line(&trace, "GetRandom").contains("randomBytes=<hidden, "),
        "{trace}"
    );
    let _ = std::fs::remove_file(scene.path().join("trace"));
    let chain = format!("trace,file={}/trace:libtpms", scene.path().display());
    let mut tpm = rusttcti::open(&format!("wrap,key=null:{chain}")).expect("a chain");
    rusttcti_kit::tpm::ok(&mut *tpm, &rusttcti_kit::commands::get_random(20));
    tpm.finalize().expect("the end");
    let trace = scene.read();
    let encrypted = "continueSession|encrypt] = TPM_RC_SUCCESS, randomBytes=<encrypted, 20 bytes>";
    // The layer wrap's own GetRandom comes first, for 16 bytes.
    assert!(trace.contains(encrypted), "{trace}");
}

#[test]
fn verbose_gives_each_field_a_line() {
    let scene = Scene::new();
    printed(scene.run(",verbose=1", "tpm2_pcrreset 16", ""));
    let trace = scene.read();
    assert!(
        trace.contains("TPM2_PCR_Reset(\n  pcrHandle: PCR 16)"),
        "{trace}"
    );
}

#[test]
fn a_recording_is_printed_in_the_same_words() {
    let scene = Scene::new();
    scene.trace("tpm2_pcrreset 16");
    for example in ["rusttcti-trace", "trace"] {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--locked", "--example", example, "--"])
            .arg(scene.path().join("log"))
            .current_dir(root())
            .output();
        let printed = printed(output.expect("cargo runs"));
        assert!(printed.contains("TPM2_PCR_Reset(PCR 16) [empty password] = TPM_RC_SUCCESS"));
    }
}

#[test]
fn a_cut_or_unknown_command_is_shown_as_far_as_it_goes_and_disturbs_nothing() {
    use rusttcti::layer::trace::{Style, Trace};
    use rusttcti::wire::{CommandCode, Header, tag};
    use rusttcti_kit::scripted::Scripted;

    let scene = Scene::new();
    let path = scene.path().join("trace");
    let mut tcti = Trace::new(Scripted::default(), &path, Style::default()).expect("a file");
    let cut = Header {
        tag: tag::SESSIONS,
        size: 12,
        code: CommandCode::UNSEAL.0,
    };
    let cut = [&cut.to_bytes()[..], &[0, 16]].concat();
    let unknown = [0x80, 0x01, 0, 0, 0, 12, 0x20, 0, 0xbe, 0xef, 0, 16];
    for command in [&cut[..], &unknown, &[0x80]] {
        tcti.transmit(command).expect("sent");
        tcti.receive(&mut [0; 64], None).expect("a response");
    }
    let trace = scene.read();
    let lines: Vec<&str> = trace.lines().collect();
    assert!(
        lines[0].starts_with("TPM2_Unseal(<cut, 12 bytes>) = "),
        "{trace}"
    );
    assert!(
        lines[1].starts_with("command 0x2000beef(parameters=<2 bytes>) = "),
        "{trace}"
    );
    assert!(
        lines[2].starts_with("<1 bytes that are not a command> = "),
        "{trace}"
    );
}
