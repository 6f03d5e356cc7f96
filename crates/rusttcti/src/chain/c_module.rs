// SPDX-License-Identifier: BSD-2-Clause
//! C modules as parts of a chain, by name.

#![forbid(unsafe_code)]

use std::cell::Cell;

use super::grammar::Named;
use super::suggest::suggestion;
use crate::transport::open_log::Opening;
use crate::{Error, ErrorKind, Result, Tcti};

/// Loads C modules. The C boundary implements it, which stands above the chain.
pub(crate) trait LoadModule: Sync {
    /// Loads the module `name` with its CONF.
    fn load(&self, name: &str, conf: Option<&str>) -> Result<Box<dyn Tcti>>;

    /// Returns whether the loader finds a module of this name.
    fn is_available(&self, name: &str) -> bool;
}

/// The largest number of modules nested in each other, each opened by the chain in the
/// CONF of the one before. All of them use one thread's stack.
const MOST_NESTED: usize = 8;

thread_local! {
    /// How many modules this thread is opening, each inside the one before.
    static NESTED: Cell<usize> = const { Cell::new(0) };
}

/// Opens a module, whose CONF may open a chain again.
fn nested<T>(open: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            NESTED.set(NESTED.get() - 1);
        }
    }

    if NESTED.get() >= MOST_NESTED {
        return Err(Error::new(
            ErrorKind::BadValue,
            format!("chains are nested more than {MOST_NESTED} deep"),
        ));
    }
    NESTED.set(NESTED.get() + 1);
    let _leave = Leave;
    open()
}

/// Opens the C module that the chain names. `known` holds the names of all transports
/// and layers, for the error about an unknown name.
pub(super) fn open(
    loader: &dyn LoadModule,
    named: Named<'_>,
    known: &Known,
) -> Result<Box<dyn Tcti>> {
    let name = named.name;
    let opening = Opening::begin();
    match nested(|| loader.load(name, named.conf)) {
        Ok(tcti) => {
            opening.done(|| format!("the C module \"{name}\""));
            Ok(tcti)
        }
        Err(error) if loader.is_available(name) => Err(error),
        // The loader's own failures have codes of the TCTI layer, except the one for a
        // library that it found but that lacks the Info function.
        Err(error) if error.rc() >> 16 != 10 => Err(Error::new(
            ErrorKind::BadValue,
            format!("the library \"{name}\" is not a TCTI module: it exports no Tss2_Tcti_Info"),
        )),
        Err(_) => Err(unknown(named, known)),
    }
}

/// The names that the crate's features left out, each with its feature.
const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "libtpms"))]
    ("libtpms", "libtpms"),
    #[cfg(not(feature = "libtpms"))]
    ("libtpms-copy", "libtpms"),
    #[cfg(not(feature = "pcap"))]
    ("pcap", "pcap"),
    #[cfg(not(feature = "wrap"))]
    ("wrap", "wrap"),
];

/// The names of all transports and of all layers.
pub(super) struct Known {
    pub(super) transports: Vec<String>,
    pub(super) layers: Vec<String>,
}

/// Returns the error for a name that no transport, layer or module has.
fn unknown(named: Named<'_>, known: &Known) -> Error {
    let all = known.transports.iter().chain(&known.layers);
    let all: Vec<&str> = all.map(|name| &**name).collect();
    let conf = named.conf.filter(|_| !named.has_options);
    let mut text = format!(
        "there is no transport or layer \"{}\", and no C module of that name",
        named.name
    );
    if let Some((_, feature)) = LEFT_OUT.iter().find(|(name, _)| *name == named.name) {
        text += &format!(
            "; it is in the crate rusttcti's feature \"{feature}\", which this program was \
             built without (in Cargo.toml: rusttcti = {{ features = [\"{feature}\"], ... }})"
        );
    } else if let Some(meant) = suggestion(named.name, conf, &all) {
        text += &format!("; {meant}");
    }
    if named.is_behind_options && named.name.contains(['/', '\\', '.']) {
        text += "; a colon in an option's value is written \\: (as in pcap,file=C\\:/x:libtpms)";
    }
    text += &format!(
        " (transports: {}; layers: {})",
        known.transports.join(", "),
        known.layers.join(", ")
    );
    Error::new(ErrorKind::BadValue, text)
}
