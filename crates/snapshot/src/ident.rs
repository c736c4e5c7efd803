//! The names things go by: interface indices, MAC addresses, VLAN ids, namespaces.
//!
//! Each is a type of its own, so that an interface index can never be passed where a VLAN id is meant. They hold
//! what the kernel uses and print as `ip` and `bridge` print it. Nothing here knows about bridges.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The index of a network interface within one namespace (`ifi_index`); never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 48-bit Ethernet address, in the order its bytes go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`, which is no valid source (`is_valid_ether_addr`).
    pub const ZERO: Self = Self([0; 6]);

    /// Returns the link-local group address `01:80:c2:00:00:0X`. Only the low four bits of `x` count.
    #[must_use]
    pub const fn link_local(x: u8) -> Self {
        Self([0x01, 0x80, 0xc2, 0, 0, x & 0x0f])
    }

    /// Whether the group bit is set; true for broadcast too (`is_multicast_ether_addr`).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether this is a link-local group address, `01:80:c2:00:00:00` to `:0f` (`is_link_local_ether_addr`).
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, x] if x < 0x10)
    }

    /// Returns the address as a number: the first byte on the wire is the most significant.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Returns the address whose [`to_u64`](Self::to_u64) is the low 48 bits of `value`.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

/// A text that was meant to be a MAC address, a VLAN id or the like, and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct ParseIdentError {
    /// What was found.
    pub text: String,
    /// What was wanted, as a phrase: "a MAC address (six bytes in hex, separated by colons)".
    pub wanted: &'static str,
}

impl FromStr for MacAddr {
    type Err = ParseIdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseIdentError {
            text: text.to_owned(),
            wanted: "a MAC address (six bytes in hex, separated by colons)",
        };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for MacAddr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddr".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$" })
    }
}

/// A VLAN id, 1 to 4094: what a bridge can have in its VLAN table (`br_vlan_valid_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

impl VlanId {
    /// Returns the id, or `None` for 0 (priority tag), 4095 and above.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        if id >= 1 && id <= 4094 { Some(Self(id)) } else { None }
    }

    /// Returns the id as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = ParseIdentError;
    fn try_from(id: u16) -> Result<Self, Self::Error> {
        Self::new(id).ok_or_else(|| ParseIdentError { text: id.to_string(), wanted: "a VLAN id (1 to 4094)" })
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> Self {
        id.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VlanId {
    type Err = ParseIdentError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| ParseIdentError { text: text.to_owned(), wanted: "a VLAN id (1 to 4094)" })
    }
}

/// An EtherType, in host byte order (`ETH_P_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// `ETH_P_IP`.
    pub const IPV4: Self = Self(0x0800);
    /// `ETH_P_ARP`.
    pub const ARP: Self = Self(0x0806);
    /// `ETH_P_RARP`.
    pub const RARP: Self = Self(0x8035);
    /// `ETH_P_8021Q`, the customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// `ETH_P_8021AD`, the service tag.
    pub const SVLAN: Self = Self(0x88a8);
    /// `ETH_P_IPV6`.
    pub const IPV6: Self = Self(0x86dd);
    /// `ETH_P_LLDP`.
    pub const LLDP: Self = Self(0x88cc);
    /// `ETH_P_PAE`, 802.1X.
    pub const EAPOL: Self = Self(0x888e);
    /// A session of PPP over Ethernet.
    pub const PPPOE_SESSION: Self = Self(0x8864);
    /// `ETH_P_CFM`.
    pub const CFM: Self = Self(0x8902);
    /// `ETH_P_MRP`.
    pub const MRP: Self = Self(0x88e3);

    /// Whether the kernel strips this as a VLAN tag (`eth_type_vlan`).
    #[must_use]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::SVLAN)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::ARP => f.write_str("ARP"),
            Self::RARP => f.write_str("RARP"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::VLAN => f.write_str("802.1Q"),
            Self::SVLAN => f.write_str("802.1ad"),
            Self::LLDP => f.write_str("LLDP"),
            Self::EAPOL => f.write_str("EAPOL"),
            Self(other) => write!(f, "{other:#06x}"),
        }
    }
}

/// A network namespace, named by the inode number of its `/proc/PID/ns/net`: unique on one host, and the same from
/// whichever process one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NetnsId(pub u64);

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_survive_text() {
        for text in ["01:80:c2:00:00:0e", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01"] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
        }
        for text in ["", "01:80:c2:00:00", "01:80:c2:00:00:0e:1", "g1:80:c2:00:00:00", "+1:80:c2:00:00:00"] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn link_local_is_a_slash_44() {
        assert!(MacAddr::link_local(0).is_link_local());
        assert!(MacAddr::link_local(15).is_link_local());
        assert!(!"01:80:c2:00:00:10".parse::<MacAddr>().unwrap().is_link_local());
        assert_eq!(MacAddr::from_u64(MacAddr::link_local(14).to_u64()), MacAddr::link_local(14));
    }

    #[test]
    fn vlan_ids_are_1_to_4094() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(4095), None);
        assert_eq!(VlanId::new(4094).map(VlanId::get), Some(4094));
        assert!(serde_json::from_str::<VlanId>("4095").is_err());
    }
}
