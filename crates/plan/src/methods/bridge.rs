//! Remedies at the bridge device: what is passed up to it, and what the bridge keeps.

use portcullis_audit::{BridgeView, Context};
use portcullis_snapshot::{
    Bytes, IfIndex, MacAddr, TcAction, TcActionKind, TcBpf, TcClassifier, TcFilter, TcHookKind, TcVerdict,
};

use super::{Lacks, MethodDoc, Piece};
use crate::behind::behind;
use crate::change::Change;
use crate::device::Device;
use crate::option::BridgeOption;
use crate::rules::{Chain, Drop, Hook, by_bridge};

pub(super) const VLAN_FILTERING: MethodDoc = MethodDoc {
    name: "vlan-filtering",
    does: "The bridge device leaves every VLAN, and the bridge filters by VLAN: nothing is passed up to the host.",
    costs: "Nothing per frame. Where the bridge did not filter before, tagged frames stop, except in the VLANs that ports are \
            given. Addresses on the bridge device stop working.",
    leaves: "Frames to 01:80:c2:00:00:00–0f, which a bridge takes before it looks at VLANs: add drop-link-local.",
    by_hand: &["bridge vlan del dev br0 vid 1 self", "ip link set dev br0 type bridge vlan_filtering 1"],
};

pub(super) const DROP_ON_BRIDGE: MethodDoc = MethodDoc {
    name: "drop-on-bridge",
    does: "nftables drops everything on the way in of the bridge device. What goes from port to port does not come there.",
    costs: "One chain for frames that are passed up. Addresses on the bridge device stop working. Needs nftables' netdev family.",
    leaves: "Frames to 01:80:c2:00:00:00–0f, which reach the stack at the port: add drop-link-local.",
    by_hand: &[
        "nft add table netdev portcullis",
        "nft 'add chain netdev portcullis up { type filter hook ingress device \"br0\" priority -500; policy drop; }'",
    ],
};

pub(super) const TC_ON_BRIDGE: MethodDoc = MethodDoc {
    name: "tc-on-bridge",
    does: "tc drops everything on the way in of the bridge device.",
    costs: "As drop-on-bridge; for kernels without nftables. Needs cls_matchall and act_gact.",
    leaves: "As drop-on-bridge; packet sockets see the frames before they are dropped.",
    by_hand: &[
        "tc qdisc add dev br0 clsact",
        "tc filter add dev br0 ingress pref 500 protocol all matchall action drop",
    ],
};

pub(super) const BPF_ON_BRIDGE: MethodDoc = MethodDoc {
    name: "bpf-on-bridge",
    does: "A BPF program of one instruction drops everything on the way in of the bridge device.",
    costs: "As tc-on-bridge; for kernels without act_gact. Needs cls_bpf.",
    leaves: "As tc-on-bridge.",
    by_hand: &[
        "tc qdisc add dev br0 clsact",
        "tc filter add dev br0 ingress pref 500 protocol all bpf da bytecode '1,6 0 0 2'",
    ],
};

pub(super) const BRIDGE_INPUT: MethodDoc = MethodDoc {
    name: "bridge-input",
    does: "nftables drops what ports of the bridge pass up, at the bridge family's input hook.",
    costs: "One rule for every frame that any bridge passes up. Needs nftables' bridge family and its meta keys. Where that is \
            missing, `ebtables -I INPUT --logical-in br0 -j DROP` does the same by hand: ebtables has one table for all, which \
            is not Portcullis's to write.",
    leaves: "Frames to 01:80:c2:00:00:00–0f: add drop-link-local.",
    by_hand: &[
        "nft add table bridge portcullis",
        "nft 'add chain bridge portcullis up { type filter hook input priority -200; }'",
        "nft 'add rule bridge portcullis up meta ibrname \"br0\" drop'",
    ],
};

pub(super) const AGEING_TIME: MethodDoc = MethodDoc {
    name: "ageing",
    does: "What the bridge learns is kept for 300 seconds, so that it is a switch and no hub.",
    costs: "Nothing. A guest that moves is found again when it sends.",
    leaves: "What is not learned yet is flooded still: see flood-off.",
    by_hand: &["ip link set dev br0 type bridge ageing_time 30000"],
};

pub(super) const FOREIGN_ENTRIES: MethodDoc = MethodDoc {
    name: "local-fdb",
    does: "Each address that is known behind the bridge device, as of another product's guests, gets a local FDB entry there: what \
           is for it goes up, and is not flooded to everybody. Known are macvlans, and what the policy states (`mac` of a port of \
           the bridge device's name).",
    costs: "Nothing per frame. Entries have to follow the foreign guests: portcullis watch sees to that. Better: give the foreign \
            switch a port of its own, by a veth pair.",
    leaves: "Addresses that are not known.",
    by_hand: &["bridge fdb add 00:0c:29:00:00:01 dev br0 self local"],
};

pub(super) const GROUP_FWD_MASK_OFF: MethodDoc = MethodDoc {
    name: "group-fwd-mask-off",
    does: "The bridge forwards no frames to 01:80:c2:00:00:00–0f.",
    costs: "What was forwarded on purpose (LLDP, LACP or 802.1X between guests and the network) stops.",
    leaves: "Such frames reach the port's own stack instead: add drop-link-local.",
    by_hand: &["ip link set dev br0 type bridge group_fwd_mask 0"],
};

pub(super) const FDB_MAX_LEARNED: MethodDoc = MethodDoc {
    name: "fdb-max-learned",
    does: "The bridge learns no more than 1,024 addresses, and 16 for each guest port: guests cannot fill its table without end.",
    costs: "Nothing per frame. What is for an address beyond that is flooded; on a network with more hosts choose a higher number. \
            Kernel 6.8 or later.",
    leaves: "Within the limit, guests crowd each other out.",
    by_hand: &["ip link set dev br0 type bridge fdb_max_learned 1072"],
};

pub(super) const NO_LINKLOCAL_LEARN: MethodDoc = MethodDoc {
    name: "no-linklocal-learn",
    does: "Frames to 01:80:c2:00:00:00–0f teach the bridge no addresses. Without it they do so even on locked ports.",
    costs: "Nothing. Kernel 5.0 or later.",
    leaves: "The frames themselves: add drop-link-local.",
    by_hand: &["ip link set dev br0 type bridge no_linklocal_learn 1"],
};

/// The priority of filters here.
const PRIORITY: u16 = 500;
/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 3;

pub(super) fn vlan_filtering(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    let option = BridgeOption::VlanFiltering;
    let from = option.get(bridge.options).ok_or_else(|| Lacks::knob("VLAN filtering"))?;
    let device = Device::from(bridge.link);
    let leave = |entry: &portcullis_snapshot::VlanEntry| Change::LeaveVlans {
        bridge: device.clone(),
        from: entry.from,
        to: entry.to,
        flags: entry.flags,
    };
    let mut changes: Vec<_> = bridge.own_vlans().map(leave).collect();
    if from != 1 {
        changes.push(Change::Bridge { bridge: device, option, from, to: 1 });
    }
    Ok(changes.into_iter().map(Piece::Change).collect())
}

pub(super) fn drop_on_bridge(bridge: &BridgeView<'_>) -> Vec<Piece> {
    let name = &bridge.link.name;
    let chain = Chain::new(Hook::Ingress, "up".to_owned(), vec![name.clone()], Vec::new());
    vec![Piece::Chain(chain.dropping())]
}

pub(super) fn bridge_input(bridge: &BridgeView<'_>) -> Vec<Piece> {
    let name = &bridge.link.name;
    let rules = vec![Drop(vec![by_bridge(name)])];
    vec![Piece::Chain(Chain::new(Hook::BridgeInput, "up".to_owned(), Vec::new(), rules))]
}

pub(super) fn tc_on_bridge(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    let drop = TcAction {
        kind: TcActionKind::Gact { random: None },
        verdict: Some(TcVerdict::Shot),
        skip_sw: false,
    };
    filter(context, bridge.link.index, |filter| TcFilter { actions: vec![drop], ..filter })
        .map(|change| vec![Piece::Change(change)])
}

pub(super) fn bpf_on_bridge(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    // `struct sock_filter`: BPF_RET | BPF_K, TC_ACT_SHOT.
    let mut instruction = 6u16.to_ne_bytes().to_vec();
    instruction.extend([0, 0]);
    instruction.extend(2u32.to_ne_bytes());
    let program = TcBpf { classic: Some(Bytes(instruction)), ..TcBpf::default() };
    let classifier = TcClassifier::Bpf { program, direct_action: true };
    filter(context, bridge.link.index, |filter| TcFilter { classifier, handle: 1, ..filter })
        .map(|change| vec![Piece::Change(change)])
}

/// A filter on the way in of a device, which matches everything unless it is made to match something else.
pub(super) fn filter(
    context: &Context<'_>,
    device: IfIndex,
    complete: impl FnOnce(TcFilter) -> TcFilter,
) -> Result<Change, Lacks> {
    let hooks = context.netns().filters.tc.known();
    let hook = hooks.iter().find(|hook| hook.device == device && hook.hook == TcHookKind::Ingress);
    if hook.is_some_and(|hook| hook.block.is_some()) {
        return Err(Lacks("its filters are shared with other devices".to_owned()));
    }
    // Neither does whose filters come first change what is dropped in the end, nor may one of ours be in another's place.
    let taken = |priority: u16| {
        hook.is_some_and(|hook| hook.filters.iter().any(|filter| filter.priority == priority))
    };
    let priority = (1..=PRIORITY).rev().find(|priority| !taken(*priority));
    let filter = TcFilter {
        chain: 0,
        priority: priority.ok_or_else(|| Lacks("every priority of tc's filters is taken".to_owned()))?,
        protocol: EVERY_PROTOCOL,
        handle: 1,
        classifier: TcClassifier::Matchall,
        classid: None,
        indev: None,
        flags: 0,
        actions: Vec::new(),
    };
    let link = context.netns().link(device).ok_or_else(Lacks::nothing_to_do)?;
    Ok(Change::Filter { device: link.into(), clsact: hook.is_none(), filter: complete(filter) })
}

/// Turns an option of the bridge.
fn turn(bridge: &BridgeView<'_>, option: BridgeOption, to: u32) -> Result<Vec<Piece>, Lacks> {
    let from = option.get(bridge.options).ok_or_else(|| Lacks::knob(option.keyword()))?;
    let bridge = Device::from(bridge.link);
    let change = Change::Bridge { bridge, option, from, to };
    Ok((from != to).then_some(Piece::Change(change)).into_iter().collect())
}

pub(super) fn ageing_time(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    const FIVE_MINUTES: u32 = 30_000;
    turn(bridge, BridgeOption::AgeingTime, FIVE_MINUTES)
}

pub(super) fn group_fwd_mask_off(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    turn(bridge, BridgeOption::GroupFwdMask, 0)
}

pub(super) fn fdb_max_learned(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    let guests = super::guests(bridge).count() as u32;
    turn(bridge, BridgeOption::FdbMaxLearned, 1_024 + 16 * guests)
}

pub(super) fn no_linklocal_learn(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    turn(bridge, BridgeOption::NoLinkLocalLearn, 1)
}

pub(super) fn foreign_entries(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    let known = behind(context.netns(), context.policy(), bridge.link);
    if known.is_empty() {
        return Err(Lacks("no address is known behind the bridge device".to_owned()));
    }
    let entry = |address| Piece::Change(Change::LocalEntry { bridge: Device::from(bridge.link), address });
    let held = context.netns().fdb.known();
    let is_new = |address: &MacAddr| {
        !held.iter().any(|entry| entry.bridge == Some(bridge.link.index) && entry.address == *address)
    };
    Ok(known.into_iter().filter(is_new).map(entry).collect())
}
