//! Networks of namespaces: nodes, cables between them, and what the kernel keeps about them.
//!
//! Everything goes away with the [`World`]: its namespaces have no names and are held by file descriptors alone.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use portcullis_kernel::capture::{self, Request};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::{self, pin_to_one_processor};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{PacketSocket, Promiscuous};
use portcullis_kernel::tap::Tap;
use portcullis_kernel::{Change, Error, sysctl};
use portcullis_snapshot::{FdbEntry, IfIndex, Link, MacAddr, PortState, Snapshot};

/// How long anything is waited for that is certain to come.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A machine of the lab: a network namespace.
#[derive(Debug)]
pub(super) struct Node {
    netns: namespace::Netns,
}

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nic {
    /// Its index there.
    pub(super) index: IfIndex,
    /// Its name.
    pub(super) name: String,
    /// Its hardware address.
    pub(super) mac: MacAddr,
}

impl Node {
    /// Makes a machine with nothing but a loopback interface, quiet: no IPv6 addresses come up by themselves.
    ///
    /// # Errors
    /// Without the right to make namespaces.
    pub(super) fn new() -> Result<Self, Error> {
        pin_to_one_processor()?;
        let node = Self { netns: namespace::Netns::create()? };
        node.run(|socket| {
            link::up(IfIndex(1)).apply(socket)?;
            for (setting, value) in [("accept_dad", "0"), ("router_solicitations", "0")] {
                sysctl::write(&["ipv6", "conf", "default", setting], value)?;
            }
            // Bridged frames stay with the bridge, as on a host without containers.
            for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"]
            {
                let _ = sysctl::write(&["bridge", setting], "0");
            }
            Ok(())
        })?;
        Ok(node)
    }

    /// Works in the namespace, with a netlink socket of it.
    ///
    /// # Errors
    /// What the work gives.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce(&mut Socket) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.netns.run(|| work(&mut Socket::open(Family::Route)?))?
    }

    /// Makes a change.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn apply(&self, change: Change) -> Result<(), Error> {
        self.run(|socket| change.apply(socket))
    }

    /// Makes a bridge, and turns it on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn bridge(&self, name: &str, mac: MacAddr) -> Result<Nic, Error> {
        self.run(|socket| {
            NewLink::new(name, "bridge").address(mac).create(|data| data).apply(socket)?;
            let index = link::index_of(socket, name)?;
            link::up(index).apply(socket)?;
            let _ = quiet_bridge();
            Ok(Nic { index, name: name.to_owned(), mac })
        })
    }

    /// Lays a cable to another node: an interface on each, both on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn cable(
        &self,
        name: &str,
        mac: MacAddr,
        to: &Self,
        far: &str,
        far_mac: MacAddr,
    ) -> Result<(Nic, Nic), Error> {
        let near = self.run(|socket| {
            let number = |mac: MacAddr| mac.to_u64() as u32 & 0xffff;
            NewLink::new(name, "veth")
                .address(mac)
                .indices(10_000 + number(mac), 20_000 + number(far_mac))
                .veth(far, far_mac, Some(to.netns.as_fd()))
                .apply(socket)?;
            link::index_of(socket, name)
        })?;
        let far_index = to.run(|socket| {
            let index = link::index_of(socket, far)?;
            link::up(index).apply(socket)?;
            Ok(index)
        })?;
        self.apply(link::up(near))?;
        let nic = |index, name: &str, mac| Nic { index, name: name.to_owned(), mac };
        Ok((nic(near, name, mac), nic(far_index, far, far_mac)))
    }

    /// Makes a tap, turned on; `None` with the reason where the kernel does not let us.
    ///
    /// # Errors
    /// If it was made and could not be turned on.
    pub(super) fn tap(&self, name: &str, mac: MacAddr) -> Result<Result<(Nic, Tap), Error>, Error> {
        let made = self.run(|socket| {
            let tap = match Tap::create(name) {
                Ok(tap) => tap,
                Err(error) => return Ok(Err(error)),
            };
            let index = link::index_of(socket, name)?;
            link::address(index, mac).apply(socket)?;
            link::up(index).apply(socket)?;
            Ok(Ok((index, tap)))
        })?;
        Ok(made.map(|(index, tap)| (Nic { index, name: name.to_owned(), mac }, tap)))
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn plug(&self, nic: &Nic, bridge: &Nic) -> Result<(), Error> {
        self.apply(link::master(nic.index, Some(bridge.index)))
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn address(&self, nic: &Nic, address: IpAddr, prefix: u8) -> Result<(), Error> {
        self.apply(link::ip_address(nic.index, address, prefix))
    }

    /// Writes a setting under `/proc/sys/net`.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn sysctl(&self, parts: &[&str], value: &str) -> Result<(), Error> {
        self.run(|_| sysctl::write(parts, value))
    }

    /// Opens a packet socket on an interface.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn packet_socket(&self, nic: &Nic, promiscuous: Promiscuous) -> Result<PacketSocket, Error> {
        self.run(|_| PacketSocket::open(nic.index, promiscuous))
    }

    /// Reads the stack's counters.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub(super) fn counters(&self) -> Result<Counters, Error> {
        self.run(|_| Counters::read())
    }

    /// Takes a snapshot of the node.
    ///
    /// # Errors
    /// If not even its links can be read.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Error> {
        let request = Request {
            scope: capture::Scope::Current,
            taken_at: "1970-01-01T00:00:00Z".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.netns.run(|| capture::capture(&request))?
    }

    /// Waits until the node is as `wanted` says; what the kernel does in the background is done soon.
    ///
    /// # Errors
    /// If it is not so after a few seconds.
    pub(super) fn wait_until(
        &self,
        what: &str,
        wanted: impl Fn(&[Link], &[FdbEntry]) -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let (links, fdb) = self.run(capture::links_and_fdb)?;
            if wanted(&links, &fdb) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        Err(Error::Malformed {
            what: format!("waiting until {what}"),
            detail: format!("not so in {LIMIT:?}"),
        })
    }

    /// Waits until every port of every bridge forwards: a cable that was just plugged in takes a moment.
    ///
    /// # Errors
    /// If one does not after a few seconds.
    pub(super) fn wait_forwarding(&self) -> Result<(), Error> {
        self.wait_until("every bridge port forwards", |links, _| {
            let mut ports = links.iter().filter_map(Link::bridge_port);
            ports.all(|port| port.state == Some(PortState::Forwarding))
        })
    }

    /// Gives the namespace a name under `/run/netns`.
    ///
    /// # Errors
    /// If the name is taken.
    pub(super) fn persist(&self, name: &str) -> Result<(), Error> {
        self.netns.persist(name)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

/// br_netfilter comes to life in a namespace with its first bridge.
fn quiet_bridge() -> Result<(), Error> {
    for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
        sysctl::write(&["bridge", setting], "0")?;
    }
    Ok(())
}

/// Returns a locally administered address that ends in two given bytes.
#[must_use]
pub(super) const fn mac(kind: u8, number: u8) -> MacAddr {
    MacAddr([0x02, 0x50, 0x43, 0x00, kind, number])
}
