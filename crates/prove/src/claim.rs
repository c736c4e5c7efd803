//! What can be claimed of a port: that no frame from it gets somewhere.

use std::net::IpAddr;

use portcullis_snapshot::{EtherType, IfIndex};

/// Where a frame is not to get, or what it is not to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// The host's own stack takes it in.
    Host(HostProtocol),
    /// The host routes it on, or answers with the address of an interface that it did not come in by.
    Infrastructure,
    /// It leaves by this port of a bridge.
    Port(IfIndex),
    /// Frames that come in by the other port, and are addressed to somebody who is not behind this one, leave by this one.
    Sniff {
        /// The port that they come in by.
        from: IfIndex,
    },
    /// A source address from behind the other port is accepted, so that what is sent to it comes here from then on.
    Spoof {
        /// The port that the address belongs to.
        of: IfIndex,
    },
    /// A frame in the name of an IP address ([`in_the_name_of`](crate::in_the_name_of)) gets there, still in that name. The
    /// claim is of interest where the address is somebody else's: whose it is, only those who ask know for certain.
    SpoofIp {
        /// The address.
        address: IpAddr,
        /// Who gets it.
        to: Receiver,
    },
}

impl Goal {
    /// Returns the other port that it is about, if it is about one.
    #[must_use]
    pub const fn other(self) -> Option<IfIndex> {
        match self {
            Self::Port(port) | Self::Sniff { from: port } | Self::Spoof { of: port } => Some(port),
            Self::SpoofIp { to: Receiver::Port(port), .. } => Some(port),
            Self::Host(_) | Self::Infrastructure | Self::SpoofIp { to: Receiver::Host, .. } => None,
        }
    }

    /// Returns the same about another port; what is about none stays as it is.
    #[must_use]
    pub const fn about(self, port: IfIndex) -> Self {
        match self {
            Self::Port(_) => Self::Port(port),
            Self::Sniff { .. } => Self::Sniff { from: port },
            Self::Spoof { .. } => Self::Spoof { of: port },
            Self::SpoofIp { address, to: Receiver::Port(_) } => {
                Self::SpoofIp { address, to: Receiver::Port(port) }
            }
            Self::Host(_) | Self::Infrastructure | Self::SpoofIp { to: Receiver::Host, .. } => self,
        }
    }
}

/// Who gets a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    /// The host's stack: it takes it in or routes it on.
    Host,
    /// Whoever is behind this port of a bridge.
    Port(IfIndex),
}

/// What of the host's stack is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostProtocol {
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Any other protocol that has a handler.
    Other,
}

impl HostProtocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Arp, Self::Ipv4, Self::Ipv6, Self::Other];

    /// Returns which one a protocol is.
    #[must_use]
    pub fn of(protocol: EtherType) -> Self {
        match protocol {
            EtherType::ARP => Self::Arp,
            EtherType::IPV4 => Self::Ipv4,
            EtherType::IPV6 => Self::Ipv6,
            _ => Self::Other,
        }
    }

    /// Returns its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Other => "other",
        }
    }
}
