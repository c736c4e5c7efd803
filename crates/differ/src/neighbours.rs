//! What ARP left in the host's neighbour table.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_datapath::Concrete;
use portcullis_datapath::frame::{ArpField, Field};
use portcullis_snapshot::{EtherType, IfIndex, MacAddr, Neighbour};

use crate::expect::Expectation;
use crate::facts::{Difference, inner, show};

/// Who an ARP message says has sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    address: IpAddr,
    mac: MacAddr,
}

impl Sender {
    /// Reads the sender of an ARP message; `None` of anything else, and of an address probe, which names nobody.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (depth, EtherType::ARP) = inner(bytes)? else { return None };
        let frame = Concrete::new(bytes)?;
        let address = Ipv4Addr::from(frame.value(Field::Arp(depth, ArpField::SenderIp)) as u32);
        let mac = MacAddr::from_u64(frame.value(Field::Arp(depth, ArpField::SenderMac)) as u64);
        (!address.is_unspecified()).then_some(Self { address: address.into(), mac })
    }

    fn is_in(self, table: &[Neighbour], device: IfIndex) -> bool {
        table.iter().any(|entry| entry.device == device && entry.address == self.address)
    }

    /// Holds the neighbour table against what the walk says of an ARP message: where ARP took it in, the sender is
    /// known; nowhere else does it appear. Which hardware address an older entry has depends on time
    /// (`locktime`), so that is not looked at.
    pub(crate) fn differences(
        self,
        said: &Expectation,
        before: &[Neighbour],
        after: &[Neighbour],
    ) -> Vec<Difference> {
        let mut found = Vec::new();
        for device in said.facts.neighbours.iter().filter(|device| !self.is_in(after, **device)) {
            found.push(Difference::Missing(format!(
                "a neighbour entry of {} on {}",
                self.address,
                show(*device)
            )));
        }
        let new = after.iter().filter(|entry| entry.address == self.address && entry.mac == Some(self.mac));
        for entry in new.filter(|entry| !self.is_in(before, entry.device) && !said.open) {
            if !said.facts.neighbours.contains(&entry.device) {
                let what = format!("a neighbour entry of {} on {}", self.address, show(entry.device));
                found.push(Difference::Unexpected(what));
            }
        }
        found
    }
}
