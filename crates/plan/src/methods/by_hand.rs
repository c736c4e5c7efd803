//! Remedies that nobody but the administrator can carry out: they change who owns what, or write where others write.
//!
//! Of none of them is there a change that could be taken back to the last bit without anybody else's loss, so no plan has
//! them. What the first two stop is in `docs/methods.md`; the third stops nothing, but has guests learned that never were.

use super::MethodDoc;

/// All of them.
pub const BY_HAND: [&MethodDoc; 3] = [&OWN_NETNS, &EBTABLES_INPUT, &OWN_PORT];

const OWN_NETNS: MethodDoc = MethodDoc {
    name: "own-netns",
    does: "The bridge and its ports are in a network namespace of their own. A bridge cannot be moved: there it is made anew.",
    costs: "Whatever creates guests has to follow. A port that moves loses its options, entries and addresses, and no undo \
            would bring them back: that is why it is yours to do.",
    leaves: "The stack of that namespace, which answers to its link-local addresses as any other. Close it too.",
    by_hand: &[
        "ip netns add bridges",
        "ip -n bridges link add br0 type bridge",
        "ip link set vnet0 netns bridges",
        "ip -n bridges link set vnet0 master br0",
        "ip -n bridges link set vnet0 up",
        "ip -n bridges link set br0 up",
        "portcullis fix --netns bridges",
    ],
};
const EBTABLES_INPUT: MethodDoc = MethodDoc {
    name: "ebtables-input",
    does: "ebtables drops what is passed up to the bridge device, where it comes to the host.",
    costs: "The legacy tables belong to all programs together and are written as a whole: two that write at a time undo each \
            other. portcullis fix writes in tables of its own only, and has bridge-input for the same place. Where ebtables is \
            nftables' own, this is a rule in a table that firewalls flush.",
    leaves: "Frames to 01:80:c2:00:00:00–0f, which reach the port's own stack.",
    by_hand: &["ebtables -I INPUT --logical-in br0 -j DROP"],
};
const OWN_PORT: MethodDoc = MethodDoc {
    name: "own-port",
    does: "Another product's switch gets a port of its own, a veth pair, instead of the bridge device: its guests are learned \
           like any other.",
    costs: "The other product has to be told of its new uplink. Two switches in a row want a spanning tree, which keeps a port \
            that comes up waiting for half a minute.",
    leaves: "Its guests are guests of this bridge: what keeps them apart from others is set at their port.",
    by_hand: &[
        "ip link add foreign0 type veth peer name foreign1",
        "ip link set dev foreign0 up",
        "ip link set dev foreign1 up",
        "ip link set dev foreign0 master br0",
        "ip link set dev br0 type bridge stp_state 1",
    ],
};
