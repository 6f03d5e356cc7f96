// SPDX-License-Identifier: BSD-2-Clause
//! tpm2-tools over the layer: they work, and a recording below the layer holds none of
//! their secrets.

use std::path::Path;

use rusttcti_kit::module::program;
use rusttcti_kit::swtpm::Swtpm;

/// tpm2-tools in a folder of their own, over a chain.
struct Tools<'a> {
    folder: &'a Path,
    chain: String,
}

impl Tools<'_> {
    /// Runs a tool, which succeeds, and returns its standard output.
    fn run(&self, line: &str) -> Vec<u8> {
        let mut words = line.split(' ');
        let output = program(words.next().expect("a name"))
            .args(words)
            .env("TPM2TOOLS_TCTI", &self.chain)
            .current_dir(self.folder)
            .output()
            .expect("the tool is installed");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {told}");
        output.stdout
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(file)).expect("a file")
    }
}

const SECRET: &[u8] = b"a secret of 28 bytes, sealed";
const SYMMETRIC: &[u8] = b"sixteen byte key";

/// Secrets that pass between the tools and the TPM.
const SECRETS: [&[u8]; 11] = [
    SECRET,
    SYMMETRIC,
    b"object-password",
    b"owner-password",
    b"index-password",
    b"rsa-password",
    b"hmac-password",
    b"aes-password",
    b"import-password",
    b"parent-password",
    b"endorsement-password",
];

/// Runs the commands of a careful user, each in its own process.
fn lifetime(tools: &Tools<'_>) {
    std::fs::write(tools.folder.join("secret"), SECRET).expect("written");
    std::fs::write(tools.folder.join("symmetric"), SYMMETRIC).expect("written");
    for line in [
        "tpm2_createprimary -C o -G ecc -c primary.ctx",
        // Sealed with a password for later, and without one.
        "tpm2_create -C primary.ctx -p object-password -i secret -u a.pub -r a.priv",
        "tpm2_create -C primary.ctx -i secret -u b.pub -r b.priv",
        "tpm2_load -C primary.ctx -u b.pub -r b.priv -c b.ctx",
        "tpm2_unseal -c b.ctx -o unsealed",
        // With a policy, in one process and over several.
        "tpm2_startauthsession -S trial.ctx",
        "tpm2_policypcr -S trial.ctx -l sha256:7 -L pcr.policy",
        "tpm2_flushcontext trial.ctx",
        "tpm2_create -C primary.ctx -L pcr.policy -i secret -u c.pub -r c.priv",
        "tpm2_load -C primary.ctx -u c.pub -r c.priv -c c.ctx",
        "tpm2_unseal -c c.ctx -p pcr:sha256:7 -o unsealed",
        "tpm2_startauthsession --policy-session -S policy.ctx",
        "tpm2_policypcr -S policy.ctx -l sha256:7",
        "tpm2_unseal -c c.ctx -p session:policy.ctx -o unsealed",
        "tpm2_flushcontext policy.ctx",
        // NV.
        "tpm2_nvdefine -C o -s 28 0x1800001",
        "tpm2_nvwrite -C o -i secret 0x1800001",
        "tpm2_nvread -C o 0x1800001 -o read",
        "tpm2_nvdefine -C o -s 28 -p index-password -a authread|authwrite|no_da 0x1800002",
        // Authorizations.
        "tpm2_changeauth -c o owner-password",
        "tpm2_changeauth -c o -p owner-password",
        "tpm2_changeauth -c e endorsement-password",
        "tpm2_changeauth -c e -p endorsement-password",
        // Keys.
        "tpm2_create -C primary.ctx -G rsa -p rsa-password -u d.pub -r d.priv",
        "tpm2_create -C primary.ctx -G rsa -u e.pub -r e.priv",
        "tpm2_load -C primary.ctx -u e.pub -r e.priv -c e.ctx",
        "tpm2_rsaencrypt -c e.ctx -o encrypted secret",
        "tpm2_rsadecrypt -c e.ctx -o decrypted encrypted",
        "tpm2_create -C primary.ctx -G hmac -p hmac-password -u f.pub -r f.priv",
        "tpm2_create -C primary.ctx -G hmac -u g.pub -r g.priv",
        "tpm2_load -C primary.ctx -u g.pub -r g.priv -c g.ctx",
        "tpm2_hmac -c g.ctx -o mac secret",
        "tpm2_create -C primary.ctx -G aes -p aes-password -u h.pub -r h.priv",
        "tpm2_import -C primary.ctx -G aes -i symmetric -p import-password -u i.pub -r i.priv",
        "tpm2_load -C primary.ctx -u i.pub -r i.priv -c i.ctx",
        "tpm2_hash -C o -g sha256 -o digest secret",
        "tpm2_evictcontrol -C o -c primary.ctx 0x81000003",
        "tpm2_create -C 0x81000003 -i secret -u j.pub -r j.priv",
        "tpm2_evictcontrol -C o -c 0x81000003",
        "tpm2_createprimary -C o -G ecc -p parent-password -c locked.ctx",
    ] {
        tools.run(line);
        for (file, made_by) in [("unsealed", "tpm2_unseal"), ("read", "tpm2_nvread")] {
            if line.starts_with(made_by) {
                assert_eq!(tools.read(file), SECRET, "{line}");
                std::fs::remove_file(tools.folder.join(file)).expect("it goes");
            }
        }
    }
    assert_eq!(tools.read("decrypted"), SECRET);
}

fn seen(recording: &[u8], secret: &[u8]) -> bool {
    recording
        .windows(secret.len())
        .any(|window| window == secret)
}

#[test]
fn no_secret_of_tpm2_tools_is_in_a_recording_below_the_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let swtpm = Swtpm::unix();
    for below in [
        "libtpms:tpm.state".to_owned(),
        format!("swtpm:{}", swtpm.conf()),
    ] {
        let at = folder.path();
        let tools = Tools {
            folder: at,
            chain: format!("rusttcti:wrap,key=null,strict=0:pcap,file=below.pcapng:flush:{below}"),
        };
        lifetime(&tools);
        let random = tools.run("tpm2_getrandom 24");
        assert_eq!(random.len(), 24);
        let recording = tools.read("below.pcapng");
        assert!(recording.len() > 10_000);
        for secret in SECRETS.iter().copied().chain([&random[..]]) {
            assert!(
                !seen(&recording, secret),
                "{}",
                String::from_utf8_lossy(secret)
            );
        }
        std::fs::remove_file(at.join("below.pcapng")).expect("it goes");
    }
}

#[test]
fn the_same_secrets_are_in_a_recording_without_the_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let tools = Tools {
        folder: folder.path(),
        chain: "rusttcti:pcap,file=below.pcapng:flush:libtpms:tpm.state".into(),
    };
    lifetime(&tools);
    let recording = tools.read("below.pcapng");
    for secret in SECRETS {
        // tpm2_import itself encrypts what it imports, except the authValue.
        let wrapped = secret == SYMMETRIC || secret == b"import-password";
        assert!(
            wrapped || seen(&recording, secret),
            "{}",
            String::from_utf8_lossy(secret)
        );
    }
}

#[test]
fn authorizations_by_password_work_as_without_the_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let tools = Tools {
        folder: folder.path(),
        chain: "rusttcti:wrap,key=null:pcap,file=below.pcapng:flush:libtpms:tpm.state".into(),
    };
    std::fs::write(folder.path().join("secret"), SECRET).expect("written");
    for line in [
        "tpm2_createprimary -C o -G ecc -p parent-password -c primary.ctx",
        "tpm2_create -C primary.ctx -P parent-password -p object-password -i secret -u a.pub -r a.priv",
        "tpm2_load -C primary.ctx -P parent-password -u a.pub -r a.priv -c a.ctx",
        "tpm2_unseal -c a.ctx -p object-password",
        "tpm2_changeauth -C primary.ctx -c a.ctx -p object-password -r b.priv other",
        "tpm2_nvdefine -C o -s 28 -p index-password -a authread|authwrite|no_da 0x1800002",
        "tpm2_nvwrite -P index-password -i secret 0x1800002",
        "tpm2_nvread -P index-password 0x1800002",
        "tpm2_nvundefine -C o 0x1800002",
        "tpm2_startauthsession --hmac-session -S hmac.ctx",
        "tpm2_unseal -c a.ctx -p session:hmac.ctx+object-password",
        "tpm2_flushcontext hmac.ctx",
        // A policy with an authValue, and one with a password.
        "tpm2_startauthsession -S trial.ctx",
        "tpm2_policyauthvalue -S trial.ctx -L value.policy",
        "tpm2_flushcontext trial.ctx",
        "tpm2_create -C primary.ctx -P parent-password -p object-password -L value.policy -i secret -u c.pub -r c.priv",
        "tpm2_load -C primary.ctx -P parent-password -u c.pub -r c.priv -c c.ctx",
        "tpm2_startauthsession --policy-session -S policy.ctx",
        "tpm2_policyauthvalue -S policy.ctx",
        "tpm2_unseal -c c.ctx -p session:policy.ctx+object-password",
        "tpm2_flushcontext policy.ctx",
        "tpm2_startauthsession --policy-session -S policy.ctx",
        "tpm2_policypassword -S policy.ctx",
        "tpm2_unseal -c c.ctx -p session:policy.ctx+object-password",
        "tpm2_flushcontext policy.ctx",
        "tpm2_policysecret --version",
        "tpm2_dictionarylockout --setup-parameters --max-tries=5",
        "tpm2_clear",
    ] {
        let told = tools.run(line);
        if line.starts_with("tpm2_unseal") {
            assert_eq!(told, SECRET, "{line}");
        }
    }
    let recording = tools.read("below.pcapng");
    assert!(!seen(&recording, b"parent-password"));
}
