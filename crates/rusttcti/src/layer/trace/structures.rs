// SPDX-License-Identifier: BSD-2-Clause
//! Reads the specification's structures (Part 2) and writes them as text.
//!
//! Each function returns `None` if the bytes end within the structure; the fields
//! before that are written.

#![forbid(unsafe_code)]

use super::fields::{Fields, Hex};
use super::schema::{Kind, Parameter};
use super::words;
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Handle, ResponseCode};

/// A short text for a public area, such as `ecc p256` or `rsa2048`.
pub(super) type Summary = Option<String>;

/// Writes parameters as text.
pub(super) struct Reader<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) fields: Fields,
    /// Whether secrets are shown.
    pub(super) secrets: bool,
    /// The first public area that was read.
    pub(super) summary: Summary,
}

impl Reader<'_> {
    /// Writes the parameters; the first is encrypted if `encrypted` is set.
    pub(super) fn parameters(&mut self, parameters: &[Parameter], encrypted: bool) -> Option<()> {
        for (at, (name, kind)) in parameters.iter().enumerate() {
            if at == 0 && encrypted {
                let bytes = self.cursor.sized()?;
                self.fields
                    .field(name, format_args!("<encrypted, {} bytes>", bytes.len()));
                continue;
            }
            self.parameter(name, *kind)?;
        }
        Some(())
    }

    fn parameter(&mut self, name: &str, kind: Kind) -> Option<()> {
        match kind {
            Kind::U16 => self.number(name, |cursor| cursor.u16().map(u64::from)),
            Kind::U32 => self.number(name, |cursor| cursor.u32().map(u64::from)),
            Kind::U64 => self.number(name, u64_of),
            Kind::I32 => self.put(name, |cursor| cursor.u32().map(|word| word as i32)),
            Kind::ClockAdjust => self.put(name, |cursor| cursor.u8().map(|byte| byte as i8)),
            Kind::YesNo => self.put(name, |cursor| cursor.u8().map(yes_no)),
            Kind::Alg => self.put(name, |cursor| cursor.u16().map(words::algorithm)),
            Kind::Curve => self.put(name, |cursor| cursor.u16().map(words::curve)),
            Kind::Cc => self.put(name, |cursor| cursor.u32().map(CommandCode)),
            Kind::Handle => self.put(name, |cursor| cursor.u32().map(Handle)),
            Kind::Startup => self.put(name, |cursor| cursor.u16().map(words::startup_type)),
            Kind::SessionType => self.put(name, |cursor| cursor.u8().map(words::session_type)),
            Kind::Operation => self.put(name, |cursor| cursor.u16().map(words::operation)),
            Kind::Locality => self.put(name, |cursor| cursor.u8().map(words::locality)),
            Kind::Rc => self.put(name, |cursor| cursor.u32().map(ResponseCode)),
            Kind::Capability => self.capability(name),
            Kind::Bytes => self.bytes(name),
            Kind::Blob => self.blob(name),
            Kind::Secret => self.secret(name),
            Kind::SensitiveCreate => self.sized(name, Self::sensitive_create),
            Kind::Public => self.sized(name, Self::public),
            Kind::Template => self.sized(name, Self::public),
            Kind::NvPublic => self.sized(name, Self::nv_public),
            Kind::CreationData => self.sized(name, Self::creation_data),
            Kind::Attest => self.sized(name, Self::attest),
            Kind::Point => self.sized(name, |reader| reader.point(false)),
            Kind::SecretPoint => self.sized(name, |reader| reader.point(true)),
            Kind::Context => self.group(name, Self::context),
            Kind::PcrSelection => self.pcr_selection(name),
            Kind::Digests => self.digests(name),
            Kind::DigestValues => self.digest_values(name),
            Kind::Algs => self.list(name, |cursor| cursor.u16().map(words::algorithm)),
            Kind::Ccs => self.list(name, |cursor| cursor.u32().map(CommandCode)),
            Kind::SymDef | Kind::SymDefObject => self.symmetric(name),
            Kind::SigScheme => self.scheme(name),
            Kind::RsaDecrypt => self.scheme(name),
            Kind::Kdf => self.scheme(name),
            Kind::Signature => self.group(name, Self::signature),
            Kind::Ticket => self.group(name, Self::ticket),
            Kind::CapabilityData => self.group(name, Self::capability_data),
            Kind::TimeInfo => self.group(name, Self::time_info),
            Kind::EccParameters => self.group(name, Self::ecc_parameters),
        }
    }

    fn put<T: std::fmt::Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Cursor<'_>) -> Option<T>,
    ) -> Option<()> {
        let value = read(&mut self.cursor)?;
        self.fields.field(name, value);
        Some(())
    }

    fn number(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Cursor<'_>) -> Option<u64>,
    ) -> Option<()> {
        self.put(name, read)
    }

    fn bytes(&mut self, name: &str) -> Option<()> {
        let bytes = self.cursor.sized()?;
        self.fields.field(name, Hex(bytes));
        Some(())
    }

    fn blob(&mut self, name: &str) -> Option<()> {
        let bytes = self.cursor.sized()?;
        self.fields
            .field(name, format_args!("<{} bytes>", bytes.len()));
        Some(())
    }

    fn secret(&mut self, name: &str) -> Option<()> {
        let bytes = self.cursor.sized()?;
        self.hidden(name, bytes);
        Some(())
    }

    /// Writes a possible secret: only its size, or its bytes if secrets are shown.
    fn hidden(&mut self, name: &str, bytes: &[u8]) {
        match self.secrets || bytes.is_empty() {
            true => self.fields.field(name, Hex(bytes)),
            false => {
                let size = bytes.len();
                self.fields
                    .field(name, format_args!("<hidden, {size} bytes>"));
            }
        }
    }

    fn group(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.fields.open(name);
        let done = read(self);
        self.fields.close();
        done
    }

    /// Reads a structure with a 16-bit size before it, which may be 0.
    fn sized(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let bytes = self.cursor.sized()?;
        if bytes.is_empty() {
            self.fields.field(name, Hex(bytes));
            return Some(());
        }
        let rest = std::mem::replace(&mut self.cursor, Cursor::new(bytes, 0));
        let done = self.group(name, read);
        if done.is_none() {
            self.fields.value("<cut>");
        }
        self.cursor = rest;
        Some(())
    }

    fn list<T: std::fmt::Display>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Cursor<'_>) -> Option<T>,
    ) -> Option<()> {
        let count = self.cursor.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(&mut self.cursor)?.to_string());
        }
        self.fields
            .field(name, format_args!("[{}]", items.join(" ")));
        Some(())
    }

    fn capability(&mut self, name: &str) -> Option<()> {
        let capability = self.cursor.u32()?;
        self.fields.field(name, words::capability(capability));
        let property = self.cursor.u32()?;
        match capability {
            1 => self.fields.field("property", Handle(property)),
            2..=4 => self.fields.field("property", CommandCode(property)),
            6 => self.fields.field("property", words::property(property)),
            _ => self.fields.field("property", property),
        }
        Some(())
    }

    fn sensitive_create(&mut self) -> Option<()> {
        self.secret("userAuth")?;
        self.secret("data")
    }

    /// Reads a `TPMT_PUBLIC`.
    fn public(&mut self) -> Option<()> {
        let kind = self.cursor.u16()?;
        self.fields.field("type", words::algorithm(kind));
        let name_alg = words::algorithm(self.cursor.u16()?);
        self.fields.field("nameAlg", &name_alg);
        self.put("attributes", |cursor| {
            cursor.u32().map(words::object_attributes)
        })?;
        self.bytes("authPolicy")?;
        let summary = self.public_parameters(kind)?;
        self.summary
            .get_or_insert_with(|| format!("{summary}, {name_alg}"));
        match kind {
            0x23 => {
                self.bytes("x")?;
                self.bytes("y")
            }
            _ => self.bytes("unique"),
        }
    }

    /// Reads the `TPMU_PUBLIC_PARMS`, and returns a summary.
    fn public_parameters(&mut self, kind: u16) -> Option<String> {
        match kind {
            0x01 => {
                self.symmetric("symmetric")?;
                self.scheme("scheme")?;
                let bits = self.cursor.u16()?;
                self.fields.field("keyBits", bits);
                let exponent = self.cursor.u32()?;
                let exponent = if exponent == 0 { 65537 } else { exponent };
                self.fields.field("exponent", exponent);
                Some(format!("rsa{bits}"))
            }
            0x23 => {
                self.symmetric("symmetric")?;
                self.scheme("scheme")?;
                let curve = words::curve(self.cursor.u16()?);
                self.fields.field("curve", &curve);
                self.scheme("kdf")?;
                Some(format!("ecc {curve}"))
            }
            0x08 => {
                self.scheme("scheme")?;
                Some("keyedhash".to_owned())
            }
            0x25 => {
                self.symmetric("symmetric")?;
                Some("symcipher".to_owned())
            }
            _ => None,
        }
    }

    /// Reads a `TPMT_SYM_DEF` or `TPMT_SYM_DEF_OBJECT`.
    fn symmetric(&mut self, name: &str) -> Option<()> {
        let algorithm = self.cursor.u16()?;
        let text = match algorithm {
            0x10 => "null".to_owned(),
            0x0a => format!("xor.{}", words::algorithm(self.cursor.u16()?)),
            _ => {
                let (bits, mode) = (self.cursor.u16()?, self.cursor.u16()?);
                let (name, mode) = (words::algorithm(algorithm), words::algorithm(mode));
                format!("{name}{bits}{mode}")
            }
        };
        self.fields.field(name, text);
        Some(())
    }

    /// Reads a scheme with its hash: `TPMT_SIG_SCHEME`, `TPMT_KDF_SCHEME` and
    /// others.
    fn scheme(&mut self, name: &str) -> Option<()> {
        let scheme = self.cursor.u16()?;
        let mut text = words::algorithm(scheme);
        match scheme {
            // Without details.
            0x10 | 0x15 => {}
            0x0a => {
                let (hash, kdf) = (self.cursor.u16()?, self.cursor.u16()?);
                text += &format!("({}, {})", words::algorithm(hash), words::algorithm(kdf));
            }
            0x1a => {
                let (hash, count) = (self.cursor.u16()?, self.cursor.u16()?);
                text += &format!("({}, count {count})", words::algorithm(hash));
            }
            _ => text += &format!("({})", words::algorithm(self.cursor.u16()?)),
        }
        self.fields.field(name, text);
        Some(())
    }

    fn signature(&mut self) -> Option<()> {
        let algorithm = self.cursor.u16()?;
        self.fields.field("sigAlg", words::algorithm(algorithm));
        if algorithm == 0x10 {
            return Some(());
        }
        let hash = self.cursor.u16()?;
        self.fields.field("hash", words::algorithm(hash));
        match algorithm {
            0x05 => {
                let digest = self.cursor.take(words::digest_size(hash)?)?;
                self.fields.field("hmac", Hex(digest));
                Some(())
            }
            0x14 | 0x16 => self.bytes("sig"),
            _ => {
                self.bytes("r")?;
                self.bytes("s")
            }
        }
    }

    fn ticket(&mut self) -> Option<()> {
        self.put("tag", |cursor| cursor.u16().map(words::structure))?;
        self.put("hierarchy", |cursor| cursor.u32().map(Handle))?;
        self.bytes("digest")
    }

    fn point(&mut self, is_secret: bool) -> Option<()> {
        for name in ["x", "y"] {
            match is_secret {
                true => self.secret(name)?,
                false => self.bytes(name)?,
            }
        }
        Some(())
    }

    fn nv_public(&mut self) -> Option<()> {
        self.put("nvIndex", |cursor| cursor.u32().map(Handle))?;
        self.put("nameAlg", |cursor| cursor.u16().map(words::algorithm))?;
        self.put("attributes", |cursor| {
            cursor.u32().map(words::nv_attributes)
        })?;
        self.bytes("authPolicy")?;
        self.parameter("dataSize", Kind::U16)
    }

    fn creation_data(&mut self) -> Option<()> {
        self.pcr_selection("pcrSelect")?;
        self.bytes("pcrDigest")?;
        self.put("locality", |cursor| cursor.u8().map(words::locality))?;
        self.put("parentNameAlg", |cursor| cursor.u16().map(words::algorithm))?;
        self.bytes("parentName")?;
        self.bytes("parentQualifiedName")?;
        self.bytes("outsideInfo")
    }

    fn context(&mut self) -> Option<()> {
        self.number("sequence", u64_of)?;
        self.put("savedHandle", |cursor| cursor.u32().map(Handle))?;
        self.put("hierarchy", |cursor| cursor.u32().map(Handle))?;
        self.blob("contextBlob")
    }

    fn pcr_selection(&mut self, name: &str) -> Option<()> {
        let selections = self.read_pcr_selection()?;
        self.fields.field(name, selections);
        Some(())
    }

    /// Reads a `TPML_PCR_SELECTION`, and returns it as tpm2-tools take it:
    /// `sha1:0,1+sha256:16`.
    fn read_pcr_selection(&mut self) -> Option<String> {
        let count = self.cursor.u32()?;
        let mut banks = Vec::new();
        for _ in 0..count {
            let hash = words::algorithm(self.cursor.u16()?);
            let size = self.cursor.u8()?;
            let select = self.cursor.take(usize::from(size))?;
            let set = (0..8 * select.len()).filter(|pcr| select[pcr / 8] >> (pcr % 8) & 1 == 1);
            let pcrs: Vec<String> = set.map(|pcr| pcr.to_string()).collect();
            banks.push(match (pcrs.len(), pcrs.is_empty()) {
                (_, true) => format!("{hash}:none"),
                (24, _) => format!("{hash}:all"),
                _ => format!("{hash}:{}", pcrs.join(",")),
            });
        }
        Some(match banks.is_empty() {
            true => "none".to_owned(),
            false => banks.join("+"),
        })
    }

    fn digests(&mut self, name: &str) -> Option<()> {
        let count = self.cursor.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(Hex(self.cursor.sized()?).to_string());
        }
        self.fields
            .field(name, format_args!("[{}]", items.join(" ")));
        Some(())
    }

    fn digest_values(&mut self, name: &str) -> Option<()> {
        let count = self.cursor.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            let hash = self.cursor.u16()?;
            let digest = self.cursor.take(words::digest_size(hash)?)?;
            items.push(format!("{}:{}", words::algorithm(hash), Hex(digest)));
        }
        self.fields
            .field(name, format_args!("[{}]", items.join(" ")));
        Some(())
    }

    fn clock_info(&mut self) -> Option<()> {
        self.number("clock", u64_of)?;
        self.parameter("resetCount", Kind::U32)?;
        self.parameter("restartCount", Kind::U32)?;
        self.put("safe", |cursor| cursor.u8().map(yes_no))
    }

    fn time_info(&mut self) -> Option<()> {
        self.number("time", u64_of)?;
        self.clock_info()
    }

    fn attest(&mut self) -> Option<()> {
        self.cursor.u32()?; // TPM_GENERATED_VALUE
        let kind = self.cursor.u16()?;
        self.fields.field("type", words::structure(kind));
        self.bytes("qualifiedSigner")?;
        self.bytes("extraData")?;
        self.clock_info()?;
        self.number("firmwareVersion", u64_of)?;
        match kind {
            0x8014 => {
                self.bytes("indexName")?;
                self.parameter("offset", Kind::U16)?;
                self.secret("nvContents")
            }
            0x8015 => {
                self.number("auditCounter", u64_of)?;
                self.put("digestAlg", |cursor| cursor.u16().map(words::algorithm))?;
                self.bytes("auditDigest")?;
                self.bytes("commandDigest")
            }
            0x8016 => {
                self.put("exclusiveSession", |cursor| cursor.u8().map(yes_no))?;
                self.bytes("sessionDigest")
            }
            0x8017 => {
                self.bytes("name")?;
                self.bytes("qualifiedName")
            }
            0x8018 => {
                self.pcr_selection("pcrSelect")?;
                self.bytes("pcrDigest")
            }
            0x8019 => {
                self.time_info()?;
                self.number("firmwareVersion", u64_of)
            }
            0x801a => {
                self.bytes("objectName")?;
                self.bytes("creationHash")
            }
            _ => Some(()),
        }
    }

    fn capability_data(&mut self) -> Option<()> {
        let capability = self.cursor.u32()?;
        self.fields
            .field("capability", words::capability(capability));
        match capability {
            0 => self.list("data", |cursor| {
                let (id, attributes) = (cursor.u16()?, cursor.u32()?);
                let id = words::algorithm(id);
                Some(format!("{id}({})", words::algorithm_attributes(attributes)))
            }),
            1 => self.list("data", |cursor| cursor.u32().map(Handle)),
            2..=4 => self.list("data", |cursor| {
                cursor
                    .u32()
                    .map(|attributes| CommandCode(attributes & 0x2000_ffff))
            }),
            5 => self.pcr_selection("data"),
            6 => self.list("data", |cursor| {
                let (property, value) = (cursor.u32()?, cursor.u32()?);
                Some(format!("{}=0x{value:x}", words::property(property)))
            }),
            8 => self.list("data", |cursor| cursor.u16().map(words::curve)),
            _ => Some(()),
        }
    }

    fn ecc_parameters(&mut self) -> Option<()> {
        self.put("curveID", |cursor| cursor.u16().map(words::curve))?;
        self.parameter("keySize", Kind::U16)?;
        self.scheme("kdf")?;
        self.scheme("sign")?;
        for name in ["p", "a", "b", "gX", "gY", "n", "h"] {
            self.bytes(name)?;
        }
        Some(())
    }
}

fn u64_of(cursor: &mut Cursor<'_>) -> Option<u64> {
    let (high, low) = (cursor.u32()?, cursor.u32()?);
    Some(u64::from(high) << 32 | u64::from(low))
}

fn yes_no(byte: u8) -> &'static str {
    match byte {
        0 => "no",
        _ => "yes",
    }
}
