//! `net/ipv4/netfilter/arp_tables.c`: what rules ask of ARP.

use portcullis_snapshot::{ArptHeader, XtBytes, XtMasked};

use super::{NfState, NfVerdict};
use crate::frame::{ArpField, Field, Frame, Set};
use crate::network::XtTable;
use crate::walk::{Skb, Walker};

/// `arp_hdr_len` of Ethernet.
const ARP_HDR_LEN: usize = 28;

impl<F: Frame> Walker<'_, '_, F> {
    /// `arpt_do_table`.
    pub(super) fn arpt_do_table(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: &XtTable<'_>,
        base: usize,
    ) -> NfVerdict {
        if !self.has_bytes(skb, ARP_HDR_LEN) {
            let why = format_args!("arptables {}", table.table.table);
            self.drop_skb("arpt_do_table", skb, "the ARP message is cut off", why);
            return NfVerdict::Drop;
        }
        self.xt_chain(skb, state, table, base)
    }

    /// `arp_packet_match`, of Ethernet: addresses stand where those of IPv4 over Ethernet do, whatever the lengths say.
    pub(super) fn arp_packet_match(&mut self, skb: &Skb, header: &ArptHeader) -> bool {
        let of = |field| Field::Arp(skb.depth, field);
        self.xt_masked(of(ArpField::Operation), header.operation.as_ref())
            && self.xt_masked(of(ArpField::HardwareType), header.hardware.as_ref())
            && self.xt_masked(of(ArpField::ProtocolType), header.protocol.as_ref())
            && self.xt_masked(of(ArpField::HardwareLength), header.hardware_len.as_ref())
            && self.arp_devaddr_compare(of(ArpField::SenderMac), header.source_device.as_ref())
            && self.arp_devaddr_compare(of(ArpField::TargetMac), header.target_device.as_ref())
            && self.xt_address(of(ArpField::SenderIp), header.source.as_ref())
            && self.xt_address(of(ArpField::TargetIp), header.target.as_ref())
    }

    pub(super) fn xt_masked<T: Into<u128> + Copy>(
        &mut self,
        field: Field,
        masked: Option<&XtMasked<T>>,
    ) -> bool {
        let Some(masked) = masked else { return true };
        let (value, mask) = (masked.value.into(), masked.mask.into());
        let inside = value & !mask == 0 && (mask == 0 || self.frame.is(field, Set::Masked { value, mask }));
        inside != masked.inverted
    }

    /// `arp_devaddr_compare`: as many bytes as the device's addresses have.
    fn arp_devaddr_compare(&mut self, field: Field, wanted: Option<&XtBytes>) -> bool {
        let Some(wanted) = wanted else { return true };
        let number = |bytes: &[u8]| {
            let bytes = bytes.iter().copied().chain(std::iter::repeat(0)).take(6);
            bytes.fold(0, |number: u128, byte| number << 8 | u128::from(byte))
        };
        let (value, mask) = (number(&wanted.value.0), number(&wanted.mask.0));
        let set = Set::Masked { value: value & mask, mask };
        (mask == 0 || self.frame.is(field, set)) != wanted.inverted
    }
}
