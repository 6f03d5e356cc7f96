// SPDX-License-Identifier: BSD-2-Clause
//! Our module and a module that another author made by `export!`, in one process: each
//! has its own errors, its own log, and its own end.
//!
//! Two of the tests examine the whole process, so they run one after the other.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::Library;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{Tcti, TctiLdr};
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{create_primary_ecc, ok};
use rusttcti_kit::vtable::{Vtable, rc};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

static TURN: Mutex<()> = Mutex::new(());

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// A module, loaded; its contexts are finalized before it goes.
struct Loaded {
    library: Library,
    init: Init,
    last_error: LastError,
}

/// A context in memory of the test's.
struct Opened {
    c: Vtable,
    layout: Layout,
}

impl Loaded {
    fn new(file: &Path, init: &str) -> Self {
        // SAFETY: modules of this project, whose functions have these signatures.
        unsafe {
            let library = Library::new(file).expect("it loads");
            Self {
                init: *library.get::<Init>(init.as_bytes()).expect("Init"),
                last_error: *library
                    .get::<LastError>(b"Tss2_Tcti_Rusttcti_LastError")
                    .expect("LastError"),
                library,
            }
        }
    }

    fn open(&self, conf: &str) -> Result<Opened, u32> {
        let conf = CString::new(conf).expect("no NUL");
        let mut size = 0;
        // SAFETY: the interface's contract: memory as large and as aligned as
        // the module wants.
        unsafe {
            let sized = (self.init)(ptr::null_mut(), &mut size, ptr::null());
            assert_eq!(sized, rc::SUCCESS);
            let layout = Layout::from_size_align(size as usize, 16).expect("a layout");
            let context = alloc(layout).cast();
            match (self.init)(context, &mut size, conf.as_ptr()) {
                rc::SUCCESS => Ok(Opened {
                    c: Vtable(context),
                    layout,
                }),
                code => {
                    dealloc(context.cast(), layout);
                    Err(code)
                }
            }
        }
    }

    fn last_error(&self) -> String {
        // SAFETY: the module's text, until this thread's next failure there.
        unsafe { CStr::from_ptr((self.last_error)()) }
            .to_string_lossy()
            .into_owned()
    }

    fn unload(self) {
        drop(self.library);
    }
}

impl Opened {
    fn random(&self) -> Vec<u8> {
        assert_eq!(self.c.transmit(&get_random(16)), rc::SUCCESS);
        let (code, response) = self.c.receive(-1);
        assert_eq!((code, response.len()), (rc::SUCCESS, 28));
        response
    }

    fn close(self) {
        self.c.finalize();
        // SAFETY: allocated in `open`, with this layout.
        unsafe { dealloc(self.c.0.cast(), self.layout) };
    }
}

fn ours() -> Loaded {
    Loaded::new(&rusttcti_kit::module::file(), "Tss2_Tcti_Rusttcti_Init")
}

fn stranger() -> Loaded {
    let file = std::env::var_os(STRANGER).map_or_else(rusttcti_kit::module::own, PathBuf::from);
    Loaded::new(&file, "Tss2_Tcti_Bridge_Init")
}

/// The variable with the path of the other author's module, for a scene.
const STRANGER: &str = "RUSTTCTI_TEST_STRANGER";

fn is_mapped(file: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps")
        .expect("maps")
        .contains(file)
}

#[test]
fn two_modules_have_each_its_own_errors_and_work_beside_each_other() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let swtpm = Swtpm::tcp();
    let (ours, stranger) = (ours(), stranger());
    assert_eq!(
        (ours.last_error(), stranger.last_error()),
        Default::default()
    );

    assert_eq!(ours.open("swtpm:colour=red").err(), Some(rc::BAD_VALUE));
    let our_words = ours.last_error();
    assert!(our_words.contains("colour"), "{our_words}");
    assert_eq!(stranger.last_error(), "", "that was not the stranger's");

    stranger.open("nowhere").err().expect("no such address");
    let its_words = stranger.last_error();
    assert!(its_words.contains("connect to nowhere"), "{its_words}");
    assert_eq!(ours.last_error(), our_words, "that was not ours");

    let address = format!("127.0.0.1:{}", swtpm.port());
    let (one, other) = (
        ours.open("libtpms").expect("a TPM"),
        stranger.open(&address).expect("the same, elsewhere"),
    );
    // Both have a command under way at once.
    assert_eq!(one.c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(other.c.transmit(&get_random(16)), rc::SUCCESS);
    let (answer, another) = (one.c.receive(-1), other.c.receive(-1));
    assert_eq!((answer.0, another.0), (rc::SUCCESS, rc::SUCCESS));
    assert_ne!(answer.1, another.1, "two TPMs");

    // The other author's module reports the failures of its context.
    assert_eq!(other.c.receive(0).0, rc::BAD_SEQUENCE);
    assert!(stranger.last_error().contains("no command was sent"));
    assert_eq!(ours.last_error(), our_words);

    one.close();
    ours.unload();
    assert!(!is_mapped("rusttcti.so"), "ours is gone");
    other.random();
    other.close();
    stranger.unload();
    assert!(!is_mapped("libbridge.so"), "and so is the stranger");
}

#[test]
fn the_stranger_s_module_may_go_first() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let swtpm = Swtpm::tcp();
    let (ours, stranger) = (ours(), stranger());
    let one = ours.open("libtpms").expect("a TPM");
    let other = stranger
        .open(&format!("127.0.0.1:{}", swtpm.port()))
        .expect("a connection");
    other.random();
    other.close();
    stranger.unload();
    assert!(!is_mapped("libbridge.so"));
    one.random();
    one.close();
    ours.unload();
    assert!(!is_mapped("rusttcti.so"));
}

/// Each module reads the environment at its first message.
#[test]
#[ignore = "a scene of another test"]
fn scene_two_logs() {
    let set = |variables: [(&str, &str); 2]| {
        for (name, value) in variables {
            // SAFETY: no other thread of this process looks at the environment.
            unsafe { std::env::set_var(name, value) };
        }
    };
    let (ours, stranger) = (ours(), stranger());
    set([("TSS2_LOG", "tcti+error"), ("TSS2_LOGFILE", "ours")]);
    ours.open("swtpm:colour=red").err().expect("none");
    set([("TSS2_LOG", "tcti+debug"), ("TSS2_LOGFILE", "stranger's")]);
    stranger.open("nowhere").err().expect("none");
    ours.open("swtpm:colour=red").err().expect("none");
    let null = ours.open("null").expect("it opens");
    // NOT_IMPLEMENTED is logged at the level debug.
    assert_eq!(null.c.transmit(&get_random(16)), rc::NOT_IMPLEMENTED);
    null.close();
    let peer = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = peer.local_addr().expect("an address").to_string();
    let bridge = stranger.open(&address).expect("it opens");
    assert_eq!(bridge.c.set_locality(1), rc::NOT_IMPLEMENTED);
    bridge.close();
}

#[test]
fn two_modules_have_each_its_own_log_at_its_own_level() {
    let folder = tempfile::tempdir().expect("a folder");
    again::played(
        again::only!("scene_two_logs")
            .current_dir(folder.path())
            .env("RUSTTCTI_MODULE_DIR", rusttcti_kit::module::dir())
            .env(STRANGER, rusttcti_kit::module::own()),
    );
    let log = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a log");
    let (ours, its) = (log("ours"), log("stranger's"));
    assert_eq!(ours.matches("ERROR:tcti:").count(), 2, "{ours}");
    assert_eq!(ours.lines().count(), 2, "errors, and nothing else: {ours}");
    assert!(!ours.contains("nowhere"), "{ours}");
    assert_eq!(its.matches("ERROR:tcti:").count(), 1, "{its}");
    assert!(its.contains("DEBUG:tcti:"), "{its}");
    assert!(!its.contains("colour"), "{its}");
}

/// The loader takes libraries of one name for one library, so that two copies of
/// rusttcti, or another program's file by its name in /proc, must not share a name.
#[test]
fn two_copies_of_rusttcti_have_tpms_of_their_own() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = |tpm: &mut dyn Tcti| ok(tpm, &create_primary_ecc())[18..18 + 90].to_vec();
    let module = rusttcti_kit::module::file();
    let module = module.to_str().expect("a path in UTF-8");
    let mut here = [(); 2].map(|()| Libtpms::builder().open().expect("a TPM"));
    let before = here.each_mut().map(|tpm| key(tpm));
    let there = [(); 2].map(|()| TctiLdr::new(module, Some("libtpms")));
    let there = there.map(|tpm| key(&mut tpm.expect("a TPM of the module's")));
    let keys: HashSet<_> = before.iter().chain(&there).collect();
    assert_eq!(keys.len(), 4);
    assert_eq!(here.each_mut().map(|tpm| key(tpm)), before);
}
