// SPDX-License-Identifier: BSD-2-Clause
//! Reads chains that may hold a program's own layers and transports.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::c_module::{self, Known};
use super::grammar::{Named, Parts};
use super::lists::{Entry, LAYERS, TRANSPORTS, find};
use super::{Chain, Layer, Transport, help};
use crate::config::{OpenLayer, OpenTransport, Options, parsed};
use crate::transport::device::Device;
use crate::{Error, ErrorKind, Result, Tcti};

type NewLayer = dyn Fn(&mut Options, Box<dyn Tcti>) -> Result<Box<dyn Tcti>> + Send + Sync;
type NewTransport = dyn Fn(Option<&str>) -> Result<Box<dyn Tcti>> + Send + Sync;

/// The layers and transports that a program's chains may name: those of rusttcti, and
/// those that the program adds.
///
/// ```
/// use std::time::Duration;
///
/// use rusttcti::{Chains, Options, Result, Tcti};
///
/// /// Counts the commands.
/// struct Count(Box<dyn Tcti>, u64);
///
/// impl Tcti for Count {
///     fn transmit(&mut self, command: &[u8]) -> Result<()> {
///         self.1 += 1;
///         self.0.transmit(command)
///     }
///     fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
///         self.0.receive(response, timeout)
///     }
///     fn below(&mut self) -> Option<&mut dyn Tcti> {
///         Some(&mut self.0)
///     }
/// }
///
/// let chains = Chains::new()
///     .layer("count", |options: &mut Options, below: Box<dyn Tcti>| {
///         let from = options.take_number("from", (0, 100), 0)?;
///         Ok(Count(below, from))
///     })
///     .transport("nothing", |_conf: Option<&str>| Ok(rusttcti::transport::null::Null::default()));
/// let tcti = chains.open("count,from=7:nothing")?;
/// assert!(chains.open("count,form=7:nothing").is_err());
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Chains {
    layers: Vec<(String, Arc<NewLayer>)>,
    transports: Vec<(String, Arc<NewTransport>)>,
}

impl Chains {
    /// Returns the layers and transports of rusttcti alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer `name`: `open` takes its options and the `Tcti` below it. An option
    /// that it does not take is an error that names the option. The layer hides a layer
    /// of rusttcti with that name.
    #[must_use]
    pub fn layer<T, F>(mut self, name: &str, open: F) -> Self
    where
        T: Tcti + 'static,
        F: Fn(&mut Options, Box<dyn Tcti>) -> Result<T> + Send + Sync + 'static,
    {
        let open = move |options: &mut Options, below: Box<dyn Tcti>| {
            open(options, below).map(|layer| Box::new(layer) as Box<dyn Tcti>)
        };
        self.layers.insert(0, (name.to_owned(), Arc::new(open)));
        self
    }

    /// Adds a transport `name`: `open` takes its CONF, `None` if the chain has no colon
    /// after the name. The transport hides a transport of rusttcti with that name.
    #[must_use]
    pub fn transport<T, F>(mut self, name: &str, open: F) -> Self
    where
        T: Tcti + 'static,
        F: Fn(Option<&str>) -> Result<T> + Send + Sync + 'static,
    {
        let open = move |conf: Option<&str>| {
            open(conf).map(|transport| Box::new(transport) as Box<dyn Tcti>)
        };
        self.transports.insert(0, (name.to_owned(), Arc::new(open)));
        self
    }

    /// Opens a chain.
    ///
    /// # Errors
    /// Those of [`rusttcti::open`](crate::open).
    pub fn open(&self, chain: &str) -> Result<Box<dyn Tcti>> {
        self.parse(chain)?.open()
    }

    /// Parses a chain, without opening anything. The options of a program's own layers
    /// are read when the chain is opened.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a chain that cannot be parsed.
    pub fn parse(&self, chain: &str) -> Result<Chain> {
        let is_layer = |name: &str| self.own_layer(name).is_some() || find(LAYERS, name).is_some();
        let parts = Parts::split(chain, is_layer)?;
        let mut layers = Vec::new();
        for (name, options) in parts.layers {
            layers.push(Layer {
                name: name.to_owned(),
                open: self.parse_layer(name, options)?,
            });
        }
        let open_transport = match parts.transport {
            None => system_device(chain)?,
            Some(named) => self.parse_transport(named)?,
        };
        Ok(Chain {
            text: chain.to_owned(),
            layers,
            transport: parts.transport.map(|named| Transport {
                name: named.name.to_owned(),
                conf: named.conf.map(str::to_owned),
            }),
            open_transport,
        })
    }

    fn own_layer(&self, name: &str) -> Option<Arc<NewLayer>> {
        let found = self.layers.iter().find(|(own, _)| own == name)?;
        Some(found.1.clone())
    }

    fn parse_layer(&self, name: &str, mut options: Options) -> Result<OpenLayer> {
        if let Some(open) = self.own_layer(name) {
            return Ok(Box::new(move |below| {
                let mut options = options.clone();
                let layer = open(&mut options, below)?;
                options.finish().map(|()| layer)
            }));
        }
        let known = find(LAYERS, name).expect("the grammar asked for it");
        let open = (known.parse)(&mut options)?;
        options.finish().map(|()| open)
    }

    fn parse_transport(&self, named: Named<'_>) -> Result<OpenTransport> {
        let Named {
            name,
            conf,
            is_behind_options,
            ..
        } = named;
        let own = self.transports.iter().find(|(own, _)| own == name);
        let known = find(TRANSPORTS, name);
        if named.has_options && (own.is_some() || known.is_some()) {
            let options = conf.unwrap_or_default();
            return Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "\"{name}{options}\": the transport {name} takes no options before its colon \
                     (write {name}:CONF)"
                ),
            ));
        }
        let owned = conf.map(str::to_owned);
        if own.is_none() && name == "help" {
            return Err(help::print());
        }
        if let Some((_, open)) = own {
            let open = open.clone();
            return Ok(Box::new(move || open(owned.as_deref())));
        }
        match known {
            Some(transport) => (transport.parse)(conf),
            None => {
                let (name, has_options) = (name.to_owned(), named.has_options);
                let known = self.known();
                Ok(Box::new(move || {
                    let named = Named {
                        name: &name,
                        conf: owned.as_deref(),
                        has_options,
                        is_behind_options,
                    };
                    c_module::open(crate::C_MODULES, named, &known)
                }))
            }
        }
    }

    /// Returns the names of all transports and layers.
    fn known(&self) -> Known {
        let own = self.transports.iter().map(|(name, _)| name.clone());
        let transports = own.chain(names_of(TRANSPORTS)).collect();
        let own = self.layers.iter().map(|(name, _)| name.clone());
        let layers = own.chain(names_of(LAYERS)).collect();
        Known { transports, layers }
    }
}

/// Parses the chain without a transport: the system's TPM device.
fn system_device(chain: &str) -> Result<OpenTransport> {
    let open = parsed::<Device>(None)?;
    let layers = chain.trim_end_matches(':').to_owned();
    Ok(Box::new(move || {
        open().map_err(|error| {
            let text = match &*layers {
                "" => "the chain is empty, so the system's TPM device was tried (a TPM in \
                       software, inside the program, is \"rusttcti:libtpms\")"
                    .to_owned(),
                layers => format!(
                    "the chain \"{layers}\" ends before a transport, so the system's TPM device \
                     was tried (a TPM in software, inside the program, is \
                     \"rusttcti:{layers}:libtpms\")"
                ),
            };
            error.context(text)
        })
    }))
}

fn names_of<Parse>(list: &'static [Entry<Parse>]) -> impl Iterator<Item = String> {
    list.iter().map(|entry| entry.name.to_owned())
}

impl fmt::Debug for Chains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        f.debug_struct("Chains")
            .field("layers", &known.layers)
            .field("transports", &known.transports)
            .finish()
    }
}
