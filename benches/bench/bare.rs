// SPDX-License-Identifier: BSD-2-Clause
//! Compiles bare.c at its first use.

use std::ffi::{CString, c_char, c_double, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bench/bare.c");
        let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare.so");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .args([&object, &source])
            .arg("-ldl")
            .status()
            .expect("cc runs (Debian's package gcc)");
        assert!(
            status.success(),
            "bare.c does not compile (it needs Debian's libtpms-dev)"
        );
        // SAFETY: it has no constructors.
        unsafe { Library::new(&object) }.expect("bare.so loads")
    })
}

fn function<T>(name: &str) -> Symbol<'static, T> {
    // SAFETY: the types given below are those of bare.c.
    unsafe { library().get(name.as_bytes()) }.expect(name)
}

/// Where a peer listens.
pub enum Address {
    Port(u16),
    Path(PathBuf),
}

type Rounds = unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_double;

fn rounds(name: &str, address: &Address, times: u32) -> f64 {
    let (path, port) = match address {
        Address::Port(port) => (CString::default(), (*port).into()),
        Address::Path(path) => (c_path(path), 0),
    };
    // SAFETY: a C string that lives through the call.
    let time = unsafe { function::<Rounds>(name)(path.as_ptr(), port, times) };
    assert!(time > 0.0, "{name}: a command failed");
    time
}

/// Nanoseconds a command over one connection.
pub fn persistent(address: &Address, times: u32) -> f64 {
    rounds("bare_persistent", address, times)
}

/// Nanoseconds a command with a connection for each.
pub fn reconnecting(address: &Address, times: u32) -> f64 {
    rounds("bare_reconnecting", address, times)
}

/// libtpms, in a copy of its own, called directly.
pub struct Direct(*mut c_void);

impl Direct {
    pub fn open() -> Self {
        let file = c_path(&libtpms());
        type Open = unsafe extern "C" fn(*const c_char) -> *mut c_void;
        // SAFETY: a C string that lives through the call.
        let tpm = unsafe { function::<Open>("direct_open")(file.as_ptr()) };
        assert!(!tpm.is_null(), "libtpms does not start");
        Self(tpm)
    }

    /// Nanoseconds a command.
    pub fn rounds(&self, times: u32) -> f64 {
        type Rounds = unsafe extern "C" fn(*mut c_void, c_uint) -> c_double;
        // SAFETY: open.
        let time = unsafe { function::<Rounds>("direct_rounds")(self.0, times) };
        assert!(time > 0.0, "libtpms refused a command");
        time
    }

    /// Nanoseconds from nothing to a first response and back to nothing.
    pub fn whole() -> f64 {
        let file = c_path(&libtpms());
        type Whole = unsafe extern "C" fn(*const c_char) -> c_double;
        // SAFETY: a C string that lives through the call.
        let time = unsafe { function::<Whole>("direct_whole")(file.as_ptr()) };
        assert!(time > 0.0, "libtpms does not start");
        time
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        type Close = unsafe extern "C" fn(*mut c_void);
        // SAFETY: open, and closed once.
        unsafe { function::<Close>("direct_close")(self.0) }
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a path in UTF-8")).expect("no NUL")
}

/// The file of libtpms, as the dynamic linker finds it.
fn libtpms() -> PathBuf {
    // SAFETY: libtpms's constructors do nothing that matters here.
    let _loaded = unsafe { Library::new("libtpms.so.0") }.expect("libtpms0 is installed");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("/libtpms.so"))
        .expect("libtpms is mapped")
        .into()
}
