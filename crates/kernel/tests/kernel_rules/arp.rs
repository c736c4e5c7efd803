//! arptables.

use portcullis_snapshot::{
    ArptHeader, Bytes, LegacyFamily, LegacyHeader, NftFamily, XtArpMangle, XtBytes, XtDevice, XtInterface,
    XtMarkTarget, XtTarget, XtVerdict,
};
use portcullis_testnet::fresh;

use super::{Case, address, case, masked, not_masked, reads_compat, reads_legacy};

/// An address as the kernel keeps it, in 16 bytes.
fn hardware(last: u8) -> Bytes {
    let mut bytes = vec![2, 0, 0, 0, 0, last];
    bytes.resize(16, 0);
    Bytes(bytes)
}

fn all() -> Vec<Case> {
    let mut six = vec![0xff; 6];
    six.resize(16, 0);
    let full = ArptHeader {
        source: Some(address("192.0.2.0", "255.255.255.0", true)),
        target: Some(address("198.51.100.1", "255.255.255.255", false)),
        source_device: Some(XtBytes { value: hardware(5), mask: Bytes(six), inverted: false }),
        target_device: None,
        hardware_len: Some(masked(6, 0xff)),
        operation: Some(not_masked(2, 0xffff)),
        hardware: Some(masked(1, 0xffff)),
        protocol: Some(masked(0x800, 0xffff)),
        input: Some(XtDevice { interface: XtInterface::Name("br0".to_owned()), inverted: false }),
        output: None,
    };
    let six = |header: &mut ArptHeader| header.hardware_len = Some(masked(6, 0xff));
    let mut mangled = ArptHeader::default();
    six(&mut mangled);
    mangled.protocol = Some(masked(0x800, 0xffff));
    let mangle = XtArpMangle {
        source_device: Some(hardware(7)),
        target_device: None,
        source: "192.0.2.7".parse().ok(),
        target: None,
        verdict: XtVerdict::Continue,
    };
    let plain = |words| case(words, LegacyHeader::Arp(ArptHeader::default()), vec![]);
    let mac = "-t filter -A INPUT ! -s 192.0.2.0/24 -d 198.51.100.1 --source-mac 02:00:00:00:00:05 --h-length 6 \
               ! --opcode 2 --h-type 1 --proto-type 0x800 -i br0 -j DROP";
    vec![
        case(mac, LegacyHeader::Arp(full), vec![]).verdict(XtVerdict::Drop),
        case(
            "-t filter -A OUTPUT --h-length 6 --proto-type 0x800 -j mangle --mangle-ip-s 192.0.2.7 \
             --mangle-mac-s 02:00:00:00:00:07 --mangle-target CONTINUE",
            LegacyHeader::Arp(mangled),
            vec![],
        )
        .target(XtTarget::Mangle(mangle)),
        plain("-t filter -A OUTPUT -j CLASSIFY --set-class 1:5")
            .target(XtTarget::Classify { priority: 0x1_0005 }),
        plain("-t filter -A OUTPUT -j MARK --set-mark 3")
            // The tool leaves the mask at 0, so that the mark's bits are turned, not set.
            .target(XtTarget::Mark(XtMarkTarget { value: 3, mask: 0 })),
    ]
}

#[test]
fn of_arptables_legacy() {
    fresh(|| reads_legacy("arptables-legacy", LegacyFamily::Arptables, all()));
}

#[test]
fn of_arptables_nft() {
    fresh(|| reads_compat("arptables-nft", NftFamily::Arp, all()));
}
