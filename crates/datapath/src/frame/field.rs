//! The fields of a frame that the kernel reads on its way.
//!
//! Fields behind the MAC addresses count from a *depth*: how many VLAN tags the reader has passed over. The kernel
//! strips tags one at a time, so what it takes for the protocol depends on how many it has stripped so far; at depth 0
//! of a tagged frame the protocol is the tag's TPID.

/// A field, or a property that the kernel computes from several bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Destination MAC address, 48 bits.
    Dst,
    /// Source MAC address, 48 bits.
    Src,
    /// `skb->protocol` after this many tags, as `eth_type_trans` computes it: an EtherType, 4 for 802.2, 1 for 802.3.
    Protocol(u8),
    /// The two bytes that `Protocol` is computed from: an EtherType, or a length below 0x0600.
    TypeOrLength(u8),
    /// VLAN id of the tag at this depth, 12 bits; meaningful if `Protocol` there is a TPID.
    Vid(u8),
    /// Priority and drop bit of the tag at this depth, 4 bits.
    Priority(u8),
    /// How many bytes follow the protocol field at this depth.
    Length(u8),
    /// A field of the ARP message at this depth.
    Arp(u8, ArpField),
    /// A field of the IPv4 packet at this depth.
    Ip4(u8, Ip4Field),
    /// A field of the IPv6 packet at this depth.
    Ip6(u8, Ip6Field),
    /// A field of the ICMPv6 message that directly follows the IPv6 header at this depth.
    Icmp6(u8, Icmp6Field),
    /// One byte behind the protocol field at this depth that no other field names.
    Byte(u8, u16),
    /// One byte from the transport header on, at this depth, that no other field names.
    TransportByte(u8, u16),
}

impl Field {
    /// How many bits the field has.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Dst | Self::Src => 48,
            Self::Protocol(_) | Self::TypeOrLength(_) => 16,
            Self::Vid(_) => 12,
            Self::Priority(_) => 4,
            Self::Length(_) => 32,
            Self::Byte(..) | Self::TransportByte(..) => 8,
            Self::Arp(_, field) => field.bits(),
            Self::Ip4(_, field) => field.bits(),
            Self::Ip6(_, field) => field.bits(),
            Self::Icmp6(_, field) => field.bits(),
        }
    }
}

/// Fields of an ARP message for IPv4 over Ethernet (RFC 826).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArpField {
    /// 1 if hardware and protocol types and lengths are those of IPv4 over Ethernet (or 802), else 0.
    WellFormed,
    /// 1 if the protocol is IPv4 and the lengths are those of Ethernet and IPv4, whatever the hardware type, else 0.
    LengthsRight,
    /// 1 is Ethernet.
    HardwareType,
    /// 0x0800 is IPv4.
    ProtocolType,
    /// 6 for Ethernet.
    HardwareLength,
    /// 4 for IPv4.
    ProtocolLength,
    /// 1 request, 2 reply, 3 and 4 the same of RARP.
    Operation,
    /// Sender MAC address.
    SenderMac,
    /// Sender IPv4 address.
    SenderIp,
    /// Target MAC address.
    TargetMac,
    /// Target IPv4 address.
    TargetIp,
}

/// Fields of an IPv4 packet (RFC 791).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip4Field {
    /// 1 if `ip_rcv_core` accepts the header: version, lengths within the frame, checksum. Else 0.
    WellFormed,
    /// 1 if version and lengths are right, whatever the checksum (`nft_set_pktinfo_ipv4_validate`). Else 0.
    LengthsRight,
    /// Version and header length: 0x45 without options.
    VersionAndLength,
    /// 1 if there are options (the header is longer than 20 bytes).
    HasOptions,
    /// 1 if this is a fragment (an offset, or more to come).
    Fragment,
    /// The flags and the offset that `Fragment` is computed from, 16 bits.
    FragmentBits,
    /// The packet's own length, header included, in bytes.
    TotalLength,
    /// Time to live.
    Ttl,
    /// The protocol inside.
    Protocol,
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Source port of UDP or TCP; 0 for others.
    SourcePort,
    /// Destination port of UDP or TCP; the type for ICMP and IGMP.
    DestinationPort,
    /// What `ip_mc_check_igmp` makes of an IGMP message: its type; 0 if it is malformed, 1 if the type is not known.
    Igmp,
}

/// Fields of an IPv6 packet (RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip6Field {
    /// 1 if `ip6_rcv_core` accepts the header: version, length within the frame. Else 0.
    WellFormed,
    /// The packet's own length, header included, in bytes: 40 more than its payload length field says.
    TotalLength,
    /// Hop limit.
    HopLimit,
    /// The next header.
    NextHeader,
    /// 1 if `ipv6_find_hdr` finds a transport header behind the extension headers, in a packet that is well formed.
    HasTransport,
    /// What that header's protocol is, or the first that is no extension header.
    TransportProtocol,
    /// 1 if the packet is a fragment other than the first, so that there is no transport header.
    LaterFragment,
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Source port of UDP or TCP directly behind the header; 0 for others.
    SourcePort,
    /// Destination port of UDP or TCP directly behind the header; 0 for others.
    DestinationPort,
}

/// Fields of an ICMPv6 message (RFC 4443, RFC 4861).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Icmp6Field {
    /// Type: 133 to 137 are neighbour discovery.
    Type,
    /// Code.
    Code,
    /// 1 if the checksum is right.
    ChecksumRight,
    /// Target address of a neighbour solicitation or advertisement.
    Target,
    /// 1 if an advertisement says that it was solicited, else 0.
    Solicited,
    /// Options of a neighbour solicitation or advertisement: 0 none that matters, 1 a source link-layer address, 2 malformed.
    Options,
    /// Router lifetime of a router advertisement, in seconds.
    RouterLifetime,
}

impl ArpField {
    const fn bits(self) -> u8 {
        match self {
            Self::WellFormed | Self::LengthsRight => 1,
            Self::HardwareLength | Self::ProtocolLength => 8,
            Self::HardwareType | Self::ProtocolType | Self::Operation => 16,
            Self::SenderIp | Self::TargetIp => 32,
            Self::SenderMac | Self::TargetMac => 48,
        }
    }
}

impl Ip4Field {
    const fn bits(self) -> u8 {
        match self {
            Self::WellFormed | Self::LengthsRight | Self::HasOptions | Self::Fragment => 1,
            Self::VersionAndLength | Self::Ttl | Self::Protocol | Self::Igmp => 8,
            Self::FragmentBits | Self::TotalLength | Self::SourcePort | Self::DestinationPort => 16,
            Self::Source | Self::Destination => 32,
        }
    }
}

impl Ip6Field {
    const fn bits(self) -> u8 {
        match self {
            Self::WellFormed | Self::HasTransport | Self::LaterFragment => 1,
            Self::HopLimit | Self::NextHeader | Self::TransportProtocol => 8,
            Self::SourcePort | Self::DestinationPort => 16,
            Self::TotalLength => 17,
            Self::Source | Self::Destination => 128,
        }
    }
}

impl Icmp6Field {
    const fn bits(self) -> u8 {
        match self {
            Self::ChecksumRight | Self::Solicited => 1,
            Self::Options => 2,
            Self::Type | Self::Code => 8,
            Self::RouterLifetime => 16,
            Self::Target => 128,
        }
    }
}
