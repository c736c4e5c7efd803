//! The document: namespaces, and in each everything that decides where a frame goes. How it is saved and loaded.

use std::io::{Read, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Address, FdbEntry, Filters, IfIndex, Ipv4Conf, Ipv6Conf, Link, Listener, Mdb, Membership, MstState,
    Neighbour, NetnsId, PacketSocket, PolicyRule, ProcessRef, ProtocolHandler, Reading, Route, Settings,
    Unread, UnreadCause, VlanGlobal, VlanTable,
};

/// The name and version of the document's format.
pub const SCHEMA: &str = "portcullis.snapshot/1";

/// The state of a host's bridges and of everything around them, at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program that took it.
    pub version: String,
    /// When it was taken, in RFC 3339.
    pub taken_at: String,
    /// The kernel it was taken from.
    pub kernel: Kernel,
    /// The namespaces that were read; the first is the one it was asked for.
    pub namespaces: Vec<Netns>,
    /// What stood in the way, beyond single readings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// The kernel that answered. Shown to people; nothing is decided by its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -n`.
    pub host: String,
}

/// Something that could not be read as it should, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// The namespace, if it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsId>,
    /// What was being read.
    pub what: String,
    /// What went wrong.
    pub message: String,
}

/// One network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Netns {
    /// Which one.
    pub id: NetnsId,
    /// The names it has under `/run/netns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// A few of the processes that live in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRef>,
    /// Interfaces, by index.
    pub links: Reading<Vec<Link>>,
    /// VLAN tables of ports and bridges; only of devices that have any.
    pub vlans: Reading<Vec<VlanTable>>,
    /// Per-VLAN options of bridges.
    pub vlan_globals: Reading<Vec<VlanGlobal>>,
    /// Port states in spanning tree instances.
    pub mst: Reading<Vec<MstState>>,
    /// FDB entries.
    pub fdb: Reading<Vec<FdbEntry>>,
    /// Multicast groups and router ports.
    pub mdb: Reading<Mdb>,
    /// Addresses.
    pub addresses: Reading<Vec<Address>>,
    /// Routes of every table.
    pub routes: Reading<Vec<Route>>,
    /// Policy rules, by family and priority.
    pub rules: Reading<Vec<PolicyRule>>,
    /// Neighbours.
    pub neighbours: Reading<Vec<Neighbour>>,
    /// IPv4 settings of `all` and `default`.
    pub ipv4: Reading<Settings<Ipv4Conf>>,
    /// IPv6 settings of `all` and `default`.
    pub ipv6: Reading<Settings<Ipv6Conf>>,
    /// What else can decide about a frame.
    pub filters: Filters,
    /// Sockets that take what arrives for the host.
    pub listeners: Reading<Vec<Listener>>,
    /// Packet sockets.
    pub packet_sockets: Reading<Vec<PacketSocket>>,
    /// Protocol handlers of the stack, beside packet sockets (`/proc/net/ptype`).
    pub protocol_handlers: Reading<Vec<ProtocolHandler>>,
    /// Multicast groups that the host is a member of, by interface (`/proc/net/igmp`, `/proc/net/igmp6`).
    pub memberships: Reading<Vec<Membership>>,
}

impl Netns {
    /// Returns the name people know it by: its name under `/run/netns`, or its id.
    #[must_use]
    pub fn label(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.id.to_string())
    }

    /// Returns a link by its index.
    #[must_use]
    pub fn link(&self, index: IfIndex) -> Option<&Link> {
        let links = self.links.known();
        links.binary_search_by_key(&index, |link| link.index).ok().and_then(|at| links.get(at))
    }

    /// Returns a link by one of its names.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links
            .known()
            .iter()
            .find(|link| link.name == name || link.altnames.iter().any(|alt| alt == name))
    }

    /// Returns the bridges.
    pub fn bridges(&self) -> impl Iterator<Item = &Link> {
        self.links.known().iter().filter(|link| link.bridge().is_some())
    }

    /// Returns what was not read, by the name that people know it by, with the reason.
    pub fn unread(&self) -> impl Iterator<Item = (&'static str, &Unread)> {
        let filters = &self.filters;
        // A document from before there were sets in it has no rule that looks into one.
        let ipsets = filters.ipsets.unread().filter(|why| why.cause != UnreadCause::NotAsked);
        let readings = [
            ("links", self.links.unread()),
            ("VLAN tables", self.vlans.unread()),
            ("VLAN options", self.vlan_globals.unread()),
            ("spanning tree instances", self.mst.unread()),
            ("FDB", self.fdb.unread()),
            ("MDB", self.mdb.unread()),
            ("addresses", self.addresses.unread()),
            ("routes", self.routes.unread()),
            ("policy rules", self.rules.unread()),
            ("neighbours", self.neighbours.unread()),
            ("IPv4 settings", self.ipv4.unread()),
            ("IPv6 settings", self.ipv6.unread()),
            ("tc filters", filters.tc.unread()),
            ("tcx programs", filters.tcx.unread()),
            ("nftables chains", filters.nft_chains.unread()),
            ("nftables flowtables", filters.nft_flowtables.unread()),
            ("legacy tables", filters.legacy_tables.unread()),
            ("ipsets", ipsets),
            ("br_netfilter settings", filters.br_netfilter.unread()),
            ("listening sockets", self.listeners.unread()),
            ("packet sockets", self.packet_sockets.unread()),
            ("protocol handlers", self.protocol_handlers.unread()),
            ("multicast memberships", self.memberships.unread()),
        ];
        readings.into_iter().filter_map(|(what, why)| Some((what, why?)))
    }

    /// Returns the ports of a bridge.
    pub fn ports(&self, bridge: IfIndex) -> impl Iterator<Item = &Link> {
        let is_port = move |link: &&Link| link.master == Some(bridge) && link.bridge_port().is_some();
        self.links.known().iter().filter(is_port)
    }
}

/// Why a document could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes could not be read.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] std::io::Error),
    /// It is not JSON, or not a snapshot.
    #[error("not a snapshot: {message} at {place}")]
    Damaged {
        /// What is wrong.
        message: String,
        /// Where: the path within the document, with line and column.
        place: String,
    },
    /// It is a document of another kind or a newer version.
    #[error("the document says it is {found:?}; this program reads {SCHEMA:?}")]
    OtherSchema {
        /// What its `schema` says.
        found: String,
    },
}

/// Only the part of any document that says what it is.
#[derive(Deserialize)]
struct Header {
    schema: String,
}

impl Snapshot {
    /// Loads a saved document. Bytes of any sort give an error at worst.
    ///
    /// # Errors
    /// [`LoadError`], which names the place.
    pub fn load(mut from: impl Read) -> Result<Self, LoadError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Self::from_json(&bytes)
    }

    /// Like [`load`](Self::load), from bytes.
    ///
    /// # Errors
    /// [`LoadError`], which names the place.
    pub fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        let header: Header = decode(bytes)?;
        if header.schema != SCHEMA {
            return Err(LoadError::OtherSchema { found: header.schema });
        }
        let mut snapshot: Self = decode(bytes)?;
        for netns in &mut snapshot.namespaces {
            // Lookups by index rely on the order; a document that a person edited may have lost it.
            if let Reading::Read(links) = &mut netns.links {
                links.sort_by_key(|link| link.index);
            }
        }
        Ok(snapshot)
    }

    /// Writes the document, indented, with a newline at its end.
    ///
    /// # Errors
    /// Whatever writing gives.
    pub fn save(&self, mut to: impl Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut to, self)?;
        to.write_all(b"\n")
    }
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, LoadError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (inner, path) = (error.inner(), error.path());
        let place = format!("{path}, line {}, column {}", inner.line(), inner.column());
        let text = inner.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        LoadError::Damaged { message, place }
    })?;
    json.end().map_err(|error| LoadError::Damaged {
        message: "something follows the document".to_owned(),
        place: format!("line {}, column {}", error.line(), error.column()),
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty() -> Snapshot {
        let netns = Netns {
            id: NetnsId(4_026_531_840),
            names: vec!["lab".to_owned()],
            processes: Vec::new(),
            links: Reading::Read(Vec::new()),
            vlans: Reading::default(),
            vlan_globals: Reading::default(),
            mst: Reading::default(),
            fdb: Reading::default(),
            mdb: Reading::default(),
            addresses: Reading::default(),
            routes: Reading::default(),
            rules: Reading::default(),
            neighbours: Reading::default(),
            ipv4: Reading::default(),
            ipv6: Reading::default(),
            filters: Filters::default(),
            listeners: Reading::default(),
            packet_sockets: Reading::default(),
            protocol_handlers: Reading::default(),
            memberships: Reading::default(),
        };
        Snapshot {
            schema: SCHEMA.to_owned(),
            version: "0.1.0".to_owned(),
            taken_at: "2026-01-01T00:00:00Z".to_owned(),
            kernel: Kernel { release: "6.12.0".to_owned(), host: "h".to_owned() },
            namespaces: vec![netns],
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_saved_snapshot_loads_as_itself() {
        let mut bytes = Vec::new();
        empty().save(&mut bytes).unwrap();
        assert_eq!(Snapshot::load(bytes.as_slice()).unwrap(), empty());
    }

    #[test]
    fn a_newer_document_is_refused_by_name() {
        let error = Snapshot::from_json(br#"{"schema": "portcullis.snapshot/2", "more": 1}"#).unwrap_err();
        assert!(error.to_string().contains("portcullis.snapshot/2"), "{error}");
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        let mut bytes = Vec::new();
        empty().save(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let wrong = text.replace("\"fdb\": {", "\"fdb\": {\"raed\": 1, ");
        let error = Snapshot::from_json(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("namespaces[0].fdb") && error.contains("raed"), "{error}");
        let cut = text.get(..text.len() / 2).unwrap();
        assert!(Snapshot::from_json(cut.as_bytes()).unwrap_err().to_string().contains("line"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Snapshot::from_json(&bytes);
        }
    }
}
