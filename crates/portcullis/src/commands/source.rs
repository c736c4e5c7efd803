//! The state that a command works on: the kernel's, or that of a saved snapshot.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::namespace;
use portcullis_snapshot::{LoadError, Netns, NetnsId, Snapshot};

use crate::arguments::Source;
use crate::failure::Failure;
use crate::progress::Progress;

/// A snapshot, and the one namespace of it that was asked for.
pub(crate) struct State {
    pub(crate) snapshot: Snapshot,
    only: Option<NetnsId>,
}

impl State {
    /// Reads the kernel or the file.
    pub(crate) fn read(source: &Source) -> Result<Self, Failure> {
        let by_id = source.netns.as_deref().filter(|name| name.starts_with("net:["));
        let snapshot = match &source.snapshot {
            Some(path) => load(path)?,
            None => take(match (&source.netns, by_id) {
                (_, Some(_)) => Scope::All,
                (Some(name), None) => Scope::Named(name.clone()),
                (None, None) if source.all_netns => Scope::All,
                (None, None) => Scope::Current,
            })?,
        };
        let select = source.netns.as_deref().filter(|_| source.snapshot.is_some() || by_id.is_some());
        let only = select.map(|name| find(&snapshot, name)).transpose()?;
        Ok(Self { snapshot, only })
    }

    /// Whether a namespace was asked for.
    pub(crate) fn includes(&self, netns: NetnsId) -> bool {
        self.only.is_none_or(|only| only == netns)
    }

    /// Returns the namespace to walk in: the one that was asked for, or the first that has the device.
    pub(crate) fn netns_with(&self, device: &str) -> Result<&Netns, Failure> {
        let mut namespaces = self.snapshot.namespaces.iter().filter(|netns| self.includes(netns.id));
        if let Some(netns) = namespaces.clone().find(|netns| netns.link_named(device).is_some()) {
            return Ok(netns);
        }
        let names =
            namespaces.clone().flat_map(|netns| netns.links.known().iter().map(|link| link.name.as_str()));
        let unread = namespaces.find_map(|netns| netns.links.unread());
        Err(match unread {
            Some(why) => Failure::new(format!("the interfaces were not read: {}", why.reason)),
            None => Failure::new(format!("there is no interface {device:?}")).nearest(device, names),
        })
    }
}

fn load(path: &Path) -> Result<Snapshot, Failure> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|error| Failure::new(format!("{name}: {error}")))?))
    };
    Snapshot::load(reader).map_err(|error| {
        let failure = Failure::new(format!("{name}: {error}"));
        match error {
            LoadError::OtherSchema { .. } => {
                failure.hint("use the version of Portcullis that wrote it, or a newer one")
            }
            LoadError::Damaged { .. } => failure.hint("portcullis snapshot writes one"),
            LoadError::Io(_) => failure,
        }
    })
}

fn take(scope: Scope) -> Result<Snapshot, Failure> {
    let _progress = Progress::of("reading the kernel");
    let request = Request {
        scope,
        taken_at: Timestamp::now().round(jiff::Unit::Second).unwrap_or_else(|_| Timestamp::now()).to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    capture(&request).map_err(|error| {
        let names = namespace::names();
        match &request.scope {
            Scope::Named(name) if !name.contains('/') && !names.contains(name) => {
                let failure = Failure::new(format!("there is no network namespace {name:?}"));
                failure
                    .hint("ip netns lists those that have names")
                    .nearest(name, names.iter().map(String::as_str))
            }
            _ => Failure::from(error),
        }
    })
}

fn find(snapshot: &Snapshot, name: &str) -> Result<NetnsId, Failure> {
    let is = |netns: &&Netns| netns.id.to_string() == name || netns.names.iter().any(|known| known == name);
    let found = snapshot.namespaces.iter().find(is).map(|netns| netns.id);
    found.ok_or_else(|| {
        let labels: Vec<_> = snapshot.namespaces.iter().map(Netns::label).collect();
        Failure::new(format!("there is no network namespace {name:?}"))
            .nearest(name, labels.iter().map(String::as_str))
    })
}
