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
    /// VLAN id of the tag at this depth, 12 bits; meaningful if `Protocol` there is a TPID.
    Vid(u8),
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
}

/// Fields of an ARP message for IPv4 over Ethernet (RFC 826).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArpField {
    /// 1 if hardware and protocol types and lengths are those of IPv4 over Ethernet (or 802), else 0.
    WellFormed,
    /// 1 if the protocol is IPv4 and the lengths are those of Ethernet and IPv4, whatever the hardware type, else 0.
    LengthsRight,
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
    /// 1 if there are options (the header is longer than 20 bytes).
    HasOptions,
    /// 1 if this is a fragment (an offset, or more to come).
    Fragment,
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
