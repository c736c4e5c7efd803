//! What rules of `x_tables` name: devices, and addresses.
//!
//! Such rules are not read for whose they are. What one names is named by a rule of all; what could name something in a way
//! that is not known here makes everything unclear.

use std::net::IpAddr;

use portcullis_snapshot::{
    LegacyHeader, LegacyTable, LegacyTarget, MacAddr, XtAddress, XtBytes, XtDevice, XtInterface, XtMac,
    XtMatch, XtTarget,
};

use crate::network::legacy::Match;

/// What some rules name.
#[derive(Debug, Default)]
pub(super) struct Named<'s> {
    pub(super) devices: Vec<&'s str>,
    /// The beginnings of names that they go by (`vnet+`).
    pub(super) beginnings: Vec<&'s str>,
    pub(super) addresses: Vec<Vec<u8>>,
    pub(super) masked: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) bounds: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) unclear: bool,
}

impl<'s> Named<'s> {
    /// Notes what the rules of a legacy table name.
    pub(super) fn table(&mut self, table: &'s LegacyTable) {
        let Some(chains) = table.chains.read() else {
            self.unclear = true;
            return;
        };
        for rule in chains.iter().flat_map(|chain| &chain.rules) {
            self.header(&rule.header);
            rule.matches.iter().for_each(|xt| self.xt_match(xt));
            if let LegacyTarget::Extension(target) = &rule.target {
                self.target(target);
            }
        }
    }

    /// Notes what a match names whose devices are known.
    pub(super) fn resolved(&mut self, xt: &Match<'s>) {
        match xt {
            Match::Plain(xt) => self.xt_match(xt),
            Match::Physdev(physdev, ..) => self.devices([&physdev.input, &physdev.output]),
            Match::Set { .. } => self.unclear = true,
        }
    }

    fn header(&mut self, header: &'s LegacyHeader) {
        match header {
            LegacyHeader::Ip(header) => {
                self.devices([&header.input, &header.output]);
                self.ips([&header.source, &header.destination]);
            }
            LegacyHeader::Ip6(header) => {
                self.devices([&header.input, &header.output]);
                self.ips([&header.source, &header.destination]);
            }
            LegacyHeader::Arp(header) => {
                self.devices([&header.input, &header.output]);
                self.ips([&header.source, &header.target]);
                for XtBytes { value, mask, .. } in
                    [&header.source_device, &header.target_device].into_iter().flatten()
                {
                    self.masked(value.to_vec(), mask.to_vec());
                }
            }
            LegacyHeader::Bridge(header) => {
                self.devices([&header.input, &header.output]);
                self.devices([&header.logical_input, &header.logical_output]);
                self.macs([&header.source, &header.destination]);
            }
        }
    }

    fn xt_match(&mut self, xt: &'s XtMatch) {
        match xt {
            XtMatch::Physdev(physdev) => self.devices([&physdev.input, &physdev.output]),
            XtMatch::Arp(arp) => {
                self.ips([&arp.source, &arp.target]);
                self.macs([&arp.source_mac, &arp.target_mac]);
            }
            XtMatch::Ip(ip) | XtMatch::Ip6(ip) => self.ips([&ip.source, &ip.destination]),
            XtMatch::Among(among) => {
                for entry in [&among.source, &among.destination].into_iter().flatten().flatten() {
                    self.addresses.push(entry.mac.0.to_vec());
                    self.addresses.extend(entry.ip.map(|ip| ip.octets().to_vec()));
                }
            }
            XtMatch::Mac(mac) => self.addresses.push(mac.value.0.to_vec()),
            XtMatch::Conntrack(conntrack) => {
                self.ips([&conntrack.original_source, &conntrack.original_destination]);
                self.ips([&conntrack.reply_source, &conntrack.reply_destination]);
            }
            XtMatch::Iprange(ranges) => {
                let ranges = [&ranges.source, &ranges.destination].into_iter().flatten();
                self.bounds.extend(ranges.map(|range| (octets(range.from), octets(range.to))));
            }
            // The types of addresses are those of routes and of the host's own.
            XtMatch::Addrtype(_)
            | XtMatch::Comment(_)
            | XtMatch::Connmark(_)
            | XtMatch::Dscp(_)
            | XtMatch::Dst(_)
            | XtMatch::Frag(_)
            | XtMatch::Hbh(_)
            | XtMatch::Hl { .. }
            | XtMatch::Icmp(_)
            | XtMatch::Icmp6(_)
            | XtMatch::Ieee8023(_)
            | XtMatch::Ipv6header(_)
            | XtMatch::Length(_)
            | XtMatch::Limit { .. }
            | XtMatch::Mark(_)
            | XtMatch::MarkM { .. }
            | XtMatch::Mh(_)
            | XtMatch::Multiport(_)
            | XtMatch::Owner(_)
            | XtMatch::Pkttype(_)
            | XtMatch::State { .. }
            | XtMatch::Statistic(_)
            | XtMatch::Tcp(_)
            | XtMatch::Tos(_)
            | XtMatch::Ttl { .. }
            | XtMatch::Udp(_)
            | XtMatch::Udplite(_)
            | XtMatch::Vlan(_) => {}
            // Sets, programs, bytes anywhere, what was seen lately.
            _ => self.unclear = true,
        }
    }

    /// Notes what a target names.
    pub(super) fn target(&mut self, target: &'s XtTarget) {
        match target {
            XtTarget::Dnat(nat)
            | XtTarget::Snat(nat)
            | XtTarget::Masquerade(nat)
            | XtTarget::Redirect(nat) => {
                if let Some((from, to)) = nat.addresses {
                    self.addresses.extend([octets(from), octets(to)]);
                    self.bounds.push((octets(from), octets(to)));
                }
            }
            XtTarget::BridgeArpreply(nat) | XtTarget::BridgeDnat(nat) | XtTarget::BridgeSnat { nat, .. } => {
                self.addresses.push(nat.mac.0.to_vec())
            }
            XtTarget::Audit { .. }
            | XtTarget::BridgeMark(_)
            | XtTarget::BridgeRedirect { .. }
            | XtTarget::Checksum { .. }
            | XtTarget::Classify { .. }
            | XtTarget::Connmark(_)
            | XtTarget::Ct(_)
            | XtTarget::Dscp { .. }
            | XtTarget::Hl(_)
            | XtTarget::Log { .. }
            | XtTarget::Mark(_)
            | XtTarget::Nflog { .. }
            | XtTarget::Nfqueue(_)
            | XtTarget::Notrack
            | XtTarget::Reject { .. }
            | XtTarget::Tcpmss { .. }
            | XtTarget::Tos { .. }
            | XtTarget::Trace
            | XtTarget::Ttl(_) => {}
            // Copies, sockets, sets, prefixes, whatever is newer.
            _ => self.unclear = true,
        }
    }

    fn devices<const N: usize>(&mut self, devices: [&'s Option<XtDevice>; N]) {
        for device in devices.into_iter().flatten() {
            match &device.interface {
                XtInterface::Any => {}
                XtInterface::Name(name) => self.devices.push(name),
                XtInterface::Prefix(beginning) => self.beginnings.push(beginning),
                XtInterface::Masked { .. } => self.unclear = true,
            }
        }
    }

    fn ips<const N: usize>(&mut self, addresses: [&'s Option<XtAddress>; N]) {
        for XtAddress { address, mask, .. } in addresses.into_iter().flatten() {
            self.masked(octets(*address), octets(*mask));
        }
    }

    fn macs<const N: usize>(&mut self, addresses: [&'s Option<XtMac>; N]) {
        for XtMac { address: MacAddr(address), mask: MacAddr(mask), .. } in addresses.into_iter().flatten() {
            self.masked(address.to_vec(), mask.to_vec());
        }
    }

    fn masked(&mut self, address: Vec<u8>, mask: Vec<u8>) {
        if mask.iter().all(|byte| *byte == 0xff) {
            self.addresses.push(address);
        } else {
            let left = address.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
            self.masked.push((mask, left));
        }
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
