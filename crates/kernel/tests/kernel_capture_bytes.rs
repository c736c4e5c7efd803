//! What this kernel sends, cut off and damaged at every byte: decoding gives less, and never panics.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod common;

use common::{Lab, fresh, mac};
use portcullis_kernel::link::{self, FdbChange, NTF_MASTER, NUD_NOARP, RuleChange};
use portcullis_snapshot::{LinkKind, Mdb};
use portcullis_wire::{Message, bridge, inet, link::link as decode_link};

/// Requests for everything that this library decodes of rtnetlink: type, family, length of the fixed header.
const DUMPS: &[(u16, u8, usize)] = &[
    (18, 0, 16),
    (18, 7, 16),
    (22, 0, 8),
    (26, 2, 12),
    (26, 10, 12),
    (30, 2, 12),
    (30, 7, 12),
    (34, 2, 12),
    (86, 7, 8),
    (114, 7, 8),
];

/// Decodes bytes as whatever they may be.
fn decode_all(bytes: &[u8]) -> usize {
    let mut mdb = Mdb::default();
    bridge::mdb(bytes, &mut mdb);
    let of_link = decode_link(bytes).is_ok();
    let of_bridge =
        (bridge::vlan_table(bytes), bridge::vlan_globals(bytes), bridge::vlan_table_of_link(bytes));
    let of_ip = (inet::address(bytes), inet::route(bytes), inet::rule(bytes), inet::neighbour(bytes));
    let some =
        [of_link, of_bridge.0.is_some(), of_bridge.1.is_some(), of_bridge.2.is_some(), of_ip.0.is_some()];
    let more = [of_ip.1.is_some(), of_ip.2.is_some(), of_ip.3.is_some(), bridge::fdb_entry(bytes).is_some()];
    some.iter().chain(&more).filter(|decoded| **decoded).count()
        + bridge::mst_states(bytes).len()
        + mdb.entries.len()
}

fn populate(lab: &mut Lab) {
    let bridge = lab.bridge("br0");
    let device = lab.port(bridge, "p0");
    lab.forward("p0");
    lab.make(link::ip_address(bridge, "192.0.2.1".parse().unwrap(), 24));
    lab.make(RuleChange { ipv6: false, priority: 7, action: 6, table: 0, iif: Some("br0") }.add());
    lab.make(
        FdbChange { device, address: mac("guest"), vlan: None, state: NUD_NOARP, flags: NTF_MASTER }.add(),
    );
}

/// The messages of all dumps, as they come.
fn messages(lab: &mut Lab) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (kind, family, length) in DUMPS {
        let mut header = vec![0; *length];
        header[0] = *family;
        let request = Message::new(*kind, 0).header(&header);
        let got = lab.route.dump("a dump", &request, Vec::new, |all, reply| all.push(reply.payload.to_vec()));
        // A kernel without VLAN filtering has no dump of VLANs.
        all.extend(got.unwrap_or_default());
    }
    all
}

#[test]
fn cut_off_anywhere() {
    fresh(|lab| {
        populate(lab);
        let messages = messages(lab);
        assert!(messages.len() > 10 && messages.iter().all(|message| decode_all(message) > 0));
        for message in &messages {
            for end in 0..message.len() {
                let _ = decode_all(&message[..end]);
            }
        }
    });
}

#[test]
fn damaged_anywhere() {
    fresh(|lab| {
        populate(lab);
        for mut message in messages(lab) {
            for at in 0..message.len() {
                let right = message[at];
                for wrong in [0, 1, 0x7f, 0x80, 0xff, right ^ 1] {
                    message[at] = wrong;
                    let _ = decode_all(&message);
                }
                message[at] = right;
            }
        }
    });
}

#[test]
fn what_came_before_the_cut_is_kept() {
    fresh(|lab| {
        populate(lab);
        let is_bridge =
            |bytes: &[u8]| decode_link(bytes).is_ok_and(|(link, _)| matches!(link.kind, LinkKind::Bridge(_)));
        let message = messages(lab).into_iter().find(|message| is_bridge(message)).unwrap();
        let (whole, left_over) = decode_link(&message).unwrap();
        assert_eq!((left_over, whole.name.as_str()), (0, "br0"));
        let (cut, left_over) = decode_link(&message[..message.len() - 5]).unwrap();
        assert!(left_over > 0, "it is noticed");
        assert_eq!((cut.index, cut.name), (whole.index, whole.name));
    });
}
