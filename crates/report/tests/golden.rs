//! What people see, whole: every text output of made-up documents, to be reviewed by eye when it changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use portcullis_audit::{Policy, Role, Severity};
use portcullis_plan::{BY_HAND, Method, Request};
use portcullis_report::json::{
    AppliedChange, AppliedEntry, AppliedPhase, AssumptionEntry, AuditDocument, BridgeEntry, ClaimEntry,
    ClaimKind, DropEntry, EvidenceEntry, ExplainDocument, FindingEntry, FixDocument, FixOutcome, Holder,
    Holds, KnobEntry, LearnedEntry, LowerEntry, MapBridge, MapDocument, MapLower, MapPort, MapUpper,
    NotProvenEntry, OutcomeEntry, PortEntry, ProofWitness, ProveDocument, ProveSummary, RemedyEntry,
    RemedyPage, RulePage, StatusDocument, StepEntry, Summary, UnreadEntry, UpperEntry, VerdictName,
    WaiverEntry, WalkDocument, WitnessEntry,
};
use portcullis_report::{html, sarif, text};
use portcullis_snapshot::{Bytes, Snapshot};

/// Prints, and takes the colours out.
fn plain(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string()
}

fn texts<T: From<String>>(list: &[&str]) -> Vec<T> {
    list.iter().map(|&text| text.to_owned().into()).collect()
}

const HEADER: [u8; 14] = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];

fn finding(rule: &str, severity: Severity, port: Option<&str>) -> FindingEntry<'static> {
    FindingEntry {
        rule: rule.to_owned().into(),
        severity,
        netns: "host".into(),
        bridge: Some("br0".into()),
        port: port.map(|port| port.to_owned().into()),
        title: "The host answers ARP requests of a guest".into(),
        why: "br0 has no address and is meant to be only a switch, but its ARP is on: arp_process answers for every \
              address of the host, on whichever interface it is. A guest that knows one of them talks to the host."
            .into(),
        evidence: vec![
            EvidenceEntry { source: "net.ipv4.conf.br0.arp_ignore".into(), value: "0".into() },
            EvidenceEntry { source: "address of eth1".into(), value: "192.0.2.1/24".into() },
        ],
        witness: port.map(|port| WitnessEntry {
            frame: Cow::Owned(Bytes(HEADER.repeat(2))),
            port: port.to_owned().into(),
            reaches: "the host's ARP on br0".into(),
        }),
        unproven: Vec::new(),
        remedies: texts(&["vlan-filtering", "tc-ingress-drop"]),
        commands: vec![
            RemedyEntry {
                method: "vlan-filtering".into(),
                summary: "takes the bridge device out of every VLAN. Frames to 01:80:c2:00:00:0X still reach the host."
                    .into(),
                commands: texts(&["ip link set br0 type bridge vlan_filtering 1", "bridge vlan del dev br0 vid 1 self"]),
            },
            RemedyEntry {
                method: "tc-ingress-drop".into(),
                summary: "drops everything that comes up through br0.".into(),
                commands: texts(&["tc qdisc add dev br0 clsact"]),
            },
        ],
        references: texts(&["net/ipv4/arp.c, arp_process"]),
        waiver: None,
        expired_waiver: None,
    }
}

fn document(findings: Vec<FindingEntry<'static>>) -> AuditDocument {
    let port = |name: &str, role, guest: Option<&str>| PortEntry {
        name: name.to_owned(),
        role,
        role_stated: false,
        guest: guest.map(str::to_owned),
    };
    AuditDocument {
        schema: AuditDocument::SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        host: "node1".to_owned(),
        kernel: "6.12.0".to_owned(),
        taken_at: "2026-01-01T00:00:00Z".to_owned(),
        policy: None,
        summary: Summary::of(
            findings
                .iter()
                .map(|finding| (finding.severity, finding.waiver.is_none(), finding.unproven.is_empty())),
        ),
        findings,
        claims: Vec::new(),
        not_proven: Vec::new(),
        bridges: vec![BridgeEntry {
            name: "br0".to_owned(),
            netns: "host".to_owned(),
            ports: vec![
                port("tap0", Role::Guest, Some("libvirt domain <web>")),
                port("eth0", Role::Uplink, None),
            ],
        }],
        lower_devices: Vec::new(),
        unread: Vec::new(),
    }
}

fn unread() -> Vec<UnreadEntry> {
    let entry = |what: &str, reason: &str, needs_root| UnreadEntry {
        netns: Some("host".to_owned()),
        what: what.to_owned(),
        reason: reason.to_owned(),
        needs_root,
    };
    vec![
        entry("nftables chains", "Operation not permitted", true),
        entry("packet sockets", "Operation not permitted", true),
        entry("FDB", "it kept changing while it was read (3 tries)", false),
    ]
}

/// What an audit proves of a port.
fn audited_claims() -> Vec<ClaimEntry> {
    let claim = |claim, to: &str, verdict, because: &[&str]| ClaimEntry {
        netns: "host".to_owned(),
        bridge: "br0".to_owned(),
        claim,
        from: "tap0".to_owned(),
        from_alike: (1..7).map(|at| format!("tap{at}")).collect(),
        to: to.to_owned(),
        to_alike: if to == "tap1" { texts(&["tap2"]) } else { Vec::new() },
        address: None,
        verdict,
        witness: (verdict == VerdictName::Exposed).then(|| ProofWitness {
            frame: Bytes(HEADER.repeat(2)),
            port: "tap0".to_owned(),
            later: false,
        }),
        assumptions: because
            .iter()
            .map(|&what| AssumptionEntry { what: what.to_owned(), function: Some("nf_hook_slow".to_owned()) })
            .collect(),
        rests_on: None,
    };
    let chain = ["nftables chain bridge filter input (3 rules)"];
    vec![
        claim(ClaimKind::Reach, "host:arp", VerdictName::Exposed, &[]),
        claim(ClaimKind::Reach, "host:ipv4", VerdictName::Isolated, &[]),
        claim(ClaimKind::Reach, "host:ipv6", VerdictName::Unproven, &chain),
        claim(ClaimKind::Reach, "infra", VerdictName::Unproven, &chain),
        claim(ClaimKind::Reach, "tap1", VerdictName::Isolated, &[]),
        claim(ClaimKind::Sniff, "tap1", VerdictName::Isolated, &[]),
        claim(ClaimKind::Spoof, "tap1", VerdictName::Unproven, &["no address behind tap1 is known"]),
    ]
}

/// Everything that a finding can have.
fn full() -> AuditDocument {
    let mut findings: Vec<_> =
        (0..66).map(|at| finding("host-arp", Severity::High, Some(&format!("tap{at}")))).collect();
    let mut bypass = finding("link-local-to-host", Severity::Critical, Some("tap0"));
    bypass.title = "Frames to 01:80:c2:00:00:02-0f reach the host's IP stack on the port".into();
    bypass.commands[0].commands =
        texts(&["tc qdisc add dev tap0 clsact", "tc filter add dev tap0 ingress …"]);
    bypass.unproven = texts(&["nftables chain bridge filter input (3 rules)", "a tc filter on tap0"]);
    findings.insert(0, bypass.clone());
    bypass.port = Some("tap1".into());
    findings.insert(1, bypass);
    let mut waived = finding("hub-mode", Severity::Medium, None);
    waived.waiver = Some(WaiverEntry { reason: "monitoring bridge".into(), expires: "2027-01-01".into() });
    findings.push(waived);
    let mut lapsed = finding("rogue-ra", Severity::Low, Some("e\u{1b}[31mvil"));
    lapsed.expired_waiver =
        Some(WaiverEntry { reason: "until the upgrade".into(), expires: "2025-01-01".into() });
    findings.push(lapsed);
    findings.push(finding("packet-socket-listeners", Severity::Info, None));
    AuditDocument {
        unread: unread(),
        claims: audited_claims(),
        not_proven: vec![NotProvenEntry {
            netns: "host".to_owned(),
            bridge: "br0".to_owned(),
            ports: texts(&["tap90", "tap91", "tap92", "tap93", "tap94"]),
        }],
        ..document(findings)
    }
}

#[test]
fn audit_with_everything() {
    insta::assert_snapshot!(plain(|out| text::audit(out, &full())));
}

#[test]
fn audit_of_little() {
    let nothing = document(Vec::new());
    let hidden = AuditDocument { unread: unread(), ..nothing.clone() };
    let bare = AuditDocument { bridges: Vec::new(), ..nothing.clone() };
    let lower = LowerEntry {
        name: "eth1".to_owned(),
        netns: "host".to_owned(),
        macvlans: vec![UpperEntry { name: "mv0".to_owned(), netns: "guest1".to_owned() }],
    };
    let macvlan = AuditDocument { lower_devices: vec![lower], ..bare.clone() };
    let blind = AuditDocument { unread: unread(), ..bare.clone() };
    let all =
        [nothing, hidden, bare, macvlan, blind].map(|document| plain(|out| text::audit(out, &document)));
    insta::assert_snapshot!(all.join("--\n"));
}

#[test]
fn audit_of_two_namespaces() {
    let mut one = finding("host-arp", Severity::High, Some("tap0"));
    let first = one.clone();
    one.netns = "net:[4026532000]".into();
    insta::assert_snapshot!(plain(|out| text::audit(out, &document(vec![first, one]))));
}

fn step(function: &str, device: &str, decision: &str, because: &str) -> StepEntry {
    let [function, device, decision, because] = [function, device, decision, because].map(str::to_owned);
    StepEntry { function, device, decision, because }
}

fn walk_document() -> WalkDocument {
    let outcome = |to: &str, device: &str, protocol: Option<&str>, effect: &str| OutcomeEntry {
        to: to.to_owned(),
        device: device.to_owned(),
        protocol: protocol.map(str::to_owned),
        effect: effect.to_owned(),
        frame: "ff".to_owned(),
        unproven: Vec::new(),
    };
    let mut host = outcome(
        "host",
        "br0",
        Some("arp"),
        "an ARP request that the host answers, taken as PACKET_BROADCAST",
    );
    host.unproven = texts(&["nftables chain arp filter input (1 rule)"]);
    WalkDocument {
        schema: WalkDocument::SCHEMA.to_owned(),
        netns: "host".to_owned(),
        from: "tap0".to_owned(),
        frame: "ff".repeat(60),
        steps: vec![
            step("br_handle_frame", "tap0", "bridge it", "tap0 is a port of br0, forwarding"),
            step(
                "br_handle_frame_finish",
                "tap0",
                "learn 02:00:00:00:00:01, then flood and deliver up",
                "learning on, and the destination ff:ff:ff:ff:ff:ff is broadcast: one copy for every port that takes \
                 broadcast, one for the bridge device",
            ),
            step(
                "arp_process",
                "br0",
                "answer",
                "192.0.2.1 is an address of eth1; arp_ignore of br0 and of all is 0",
            ),
        ],
        outcomes: vec![outcome("port", "tap1", None, "flooded"), host],
        drop: None,
        drops: vec![DropEntry {
            reason: "the port that it came in by".to_owned(),
            function: "should_deliver".to_owned(),
            device: "tap0".to_owned(),
            unproven: Vec::new(),
        }],
        open: Vec::new(),
        learned: vec![LearnedEntry {
            bridge: "br0".to_owned(),
            port: "tap0".to_owned(),
            vlan: Some(5),
            change: "move".to_owned(),
            moved_from: Some("tap1".to_owned()),
        }],
    }
}

#[test]
fn walk_that_arrives_and_one_that_does_not() {
    let arrives = walk_document();
    let mut dropped = arrives.clone();
    dropped.outcomes.clear();
    dropped.learned.clear();
    let both = [arrives, dropped].map(|document| plain(|out| text::walk(out, &document)));
    insta::assert_snapshot!(both.join("--\n"));
}

fn map_port(name: &str, role: Role) -> MapPort {
    MapPort {
        name: name.to_owned(),
        role,
        guest: None,
        up: true,
        state: Some("forwarding".to_owned()),
        options: Vec::new(),
        vlans: texts(&["1 PVID untagged"]),
        promiscuity: Some(1),
        held_by: Vec::new(),
        peer_netns: None,
        uppers: Vec::new(),
    }
}

fn map_bridge(name: &str, ports: Vec<MapPort>) -> MapBridge {
    MapBridge {
        name: name.to_owned(),
        netns: "host".to_owned(),
        up: true,
        mac: Some("02:00:00:00:00:01".to_owned()),
        addresses: texts(&["192.0.2.1/24", "fe80::1/64"]),
        stp: Some("off".to_owned()),
        vlan_filtering: Some(true),
        ageing_time: Some(30_000),
        vlans: texts(&["1 PVID untagged", "10-20"]),
        promiscuity: Some(2),
        held_by: vec![
            Holder { who: "a packet socket of tcpdump (4711)".to_owned(), count: 1 },
            Holder {
                who: "nothing visible: a kernel module or another namespace's socket".to_owned(),
                count: 1,
            },
        ],
        uppers: vec![MapUpper {
            name: "br0.10".to_owned(),
            kind: "vlan 10".to_owned(),
            up: true,
            netns: None,
            guest: None,
        }],
        ports,
    }
}

fn map_document() -> MapDocument {
    let mut tap = map_port("tap0", Role::Guest);
    tap.guest = Some("libvirt domain web1".to_owned());
    tap.options = texts(&["isolated on", "learning off"]);
    let mut veth = map_port("veth-long-name", Role::Guest);
    veth.peer_netns = Some("guest1".to_owned());
    veth.uppers = vec![MapUpper {
        name: "veth.5".to_owned(),
        kind: "vlan 5".to_owned(),
        up: false,
        netns: None,
        guest: None,
    }];
    let mut down = map_port("eth0", Role::Uplink);
    down.up = false;
    down.promiscuity = Some(0);
    down.vlans = Vec::new();
    let mut hub = map_bridge("hub", Vec::new());
    hub.ageing_time = Some(0);
    hub.addresses.clear();
    hub.held_by.clear();
    hub.uppers.clear();
    hub.vlan_filtering = None;
    hub.promiscuity = Some(0);
    let mut mv = hub_upper("mv0");
    mv.netns = Some("guest1".to_owned());
    MapDocument {
        schema: MapDocument::SCHEMA.to_owned(),
        host: "node1".to_owned(),
        kernel: "6.12.0".to_owned(),
        bridges: vec![map_bridge("br0", vec![tap, veth, down]), hub],
        lower_devices: vec![MapLower {
            name: "eth1".to_owned(),
            netns: "host".to_owned(),
            up: true,
            promiscuity: Some(0),
            held_by: Vec::new(),
            uppers: vec![hub_upper("mv\u{7}1"), mv],
        }],
        unread: unread().into_iter().take(1).collect(),
    }
}

fn hub_upper(name: &str) -> MapUpper {
    MapUpper { name: name.to_owned(), kind: "macvlan bridge".to_owned(), up: true, netns: None, guest: None }
}

#[test]
fn map_of_two_bridges() {
    insta::assert_snapshot!(plain(|out| text::map(out, &map_document())));
}

#[test]
fn map_of_nothing() {
    let nothing =
        MapDocument { bridges: Vec::new(), lower_devices: Vec::new(), unread: Vec::new(), ..map_document() };
    insta::assert_snapshot!(plain(|out| text::map(out, &nothing)), @"There is no bridge here, and no macvlan.");
}

fn pages() -> ExplainDocument {
    let page = |rule: &str, severity| {
        RulePage {
        rule: rule.to_owned(),
        title: "The host answers ARP requests of a guest".to_owned(),
        severity,
        threat: "A guest that gets an answer knows the host's MAC address and can talk to every address that the host \
                 has, on whichever interface it is."
            .to_owned(),
        kernel_path: texts(&["br_handle_frame (net/bridge/br_input.c): bridges it", "arp_process (net/ipv4/arp.c)"]),
        how_found: "An ARP request for each address of the host is walked from every guest port.".to_owned(),
        remedies: vec![RemedyPage {
            method: "arp-off".to_owned(),
            trade_off: "costs nothing. Static neighbour entries still reach the host.".to_owned(),
        }],
        references: texts(&["https://vincent.bernat.ch/en/blog/2017-linux-bridge-isolation"]),
    }
    };
    ExplainDocument {
        schema: ExplainDocument::SCHEMA.to_owned(),
        rules: vec![page("host-arp", Severity::High), page("link-local-to-host", Severity::Critical)],
        methods: Vec::new(),
    }
}

#[test]
fn explain_a_rule_and_all() {
    let one = ExplainDocument { rules: pages().rules.into_iter().take(1).collect(), ..pages() };
    let page = plain(|out| text::explain(out, &one));
    let list = plain(|out| text::explain_list(out, &pages()));
    insta::assert_snapshot!([page, list].join("--\n"));
}

#[test]
fn html_page() {
    let mut document = full();
    document.findings.truncate(3);
    insta::assert_snapshot!(plain(|out| html(out, &document)));
}

#[test]
fn sarif_log() {
    let mut document = full();
    document.findings.retain(|finding| finding.port.is_none() || finding.port.as_deref() == Some("tap1"));
    insta::assert_snapshot!(plain(|out| sarif(out, &document, &pages())));
}

#[test]
fn documents_read_back_as_themselves() {
    fn same<T>(document: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let mut bytes = Vec::new();
        portcullis_report::json::write(&mut bytes, document).unwrap();
        assert_eq!(&serde_json::from_slice::<T>(&bytes).unwrap(), document);
    }
    same(&full());
    same(&walk_document());
    same(&map_document());
    same(&pages());
}

#[test]
fn proofs_as_text() {
    let claim = |claim, to: &str, verdict| ClaimEntry {
        netns: "host".to_owned(),
        bridge: "br0".to_owned(),
        claim,
        from: "vnet0".to_owned(),
        from_alike: ["vnet1", "vnet2", "vnet3", "vnet\u{1b}4"].map(str::to_owned).into(),
        to: to.to_owned(),
        to_alike: Vec::new(),
        address: None,
        verdict,
        witness: None,
        assumptions: Vec::new(),
        rests_on: None,
    };
    let knob = KnobEntry {
        name: "isolated of vnet0".to_owned(),
        is: "on".to_owned(),
        instead: "off".to_owned(),
        verdict: "exposed".to_owned(),
    };
    let witness = |later| {
        let frame = Bytes(HEADER.repeat(2));
        Some(ProofWitness { frame, port: "vnet0".to_owned(), later })
    };
    let filter = AssumptionEntry {
        what: "legacy table filter of iptables".to_owned(),
        function: Some("ip_local_deliver".to_owned()),
    };
    let claims = vec![
        claim(ClaimKind::Reach, "host:arp", VerdictName::Isolated),
        ClaimEntry { witness: witness(false), ..claim(ClaimKind::Reach, "host:ipv6", VerdictName::Exposed) },
        ClaimEntry {
            assumptions: vec![filter],
            ..claim(ClaimKind::Reach, "host:ipv4", VerdictName::Unproven)
        },
        claim(ClaimKind::Reach, "host:other", VerdictName::Isolated),
        claim(ClaimKind::Reach, "infra", VerdictName::Isolated),
        ClaimEntry { witness: witness(true), ..claim(ClaimKind::Reach, "vnet7", VerdictName::Exposed) },
        ClaimEntry { rests_on: Some(vec![knob]), ..claim(ClaimKind::Reach, "vnet8", VerdictName::Isolated) },
        ClaimEntry { rests_on: Some(Vec::new()), ..claim(ClaimKind::Sniff, "eth0", VerdictName::Isolated) },
        claim(ClaimKind::Spoof, "eth0", VerdictName::Isolated),
        ClaimEntry {
            address: Some("10.0.0.5".to_owned()),
            ..claim(ClaimKind::SpoofIp, "eth0", VerdictName::Isolated)
        },
    ];
    let document = ProveDocument {
        schema: ProveDocument::SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        host: "hv1".to_owned(),
        kernel: "6.12.0".to_owned(),
        taken_at: "2026-06-01T12:00:00Z".to_owned(),
        holds: Holds::Ever,
        claims,
        summary: ProveSummary { isolated: 6, exposed: 2, unproven: 1 },
    };
    insta::assert_snapshot!(plain(|out| text::prove(out, &document)));
}

#[test]
fn explain_a_remedy_and_all() {
    let page = plain(|out| text::explain(out, &ExplainDocument::of_methods([Method::DropOnBridge.doc()])));
    let by_hand = plain(|out| text::explain(out, &ExplainDocument::of_methods([BY_HAND[0]])));
    let all = Method::ALL.into_iter().map(Method::doc).chain(BY_HAND);
    let list = plain(|out| text::explain_methods(out, &ExplainDocument::of_methods(all)));
    insta::assert_snapshot!([page, by_hand, list].join("--\n"));
}

/// The plan for an address-less `br0` with two guests, as a kernel told it.
fn fix_document(methods: &[Method], outcome: FixOutcome) -> FixDocument {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portcullis/tests/fixtures/hypervisor.json");
    let snapshot = Snapshot::load(File::open(path).unwrap()).unwrap();
    let netns = &snapshot.namespaces[0];
    let today = jiff::civil::date(2026, 6, 1);
    let request = Request { methods, complete: false, bridges: &[], refused: &BTreeMap::new(), today };
    let plan = portcullis_plan::plan(&snapshot, netns.id, &Policy::default(), &request).unwrap();
    FixDocument::new(&snapshot, netns, &plan, outcome)
}

#[test]
fn fix_that_closes_all_and_one_that_leaves_some() {
    let all = plain(|out| text::fix(out, &fix_document(&[], FixOutcome::Planned)));
    let mut some = fix_document(&[Method::ArpOff], FixOutcome::AwaitsConfirmation);
    some.confirm_within = Some(60);
    let some = plain(|out| text::fix(out, &some));
    insta::assert_snapshot!([all, some].join("--\n"));
}

#[test]
fn fix_as_json() {
    let document = fix_document(&[], FixOutcome::Applied);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    let read: FixDocument = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
    assert_eq!(read, document);
}

#[test]
fn status_of_what_holds_and_of_what_does_not() {
    let change = |what: &str, found: Option<&str>| AppliedChange {
        what: what.to_owned(),
        holds: found.is_none(),
        found: found.map(str::to_owned),
    };
    let entry = |phase, seconds_left| AppliedEntry {
        remedies: texts(&["drop-on-bridge on br0", "arp-off on br0"]),
        since: "2026-06-01T10:00:00Z".to_owned(),
        user: "root".to_owned(),
        pid: 4711,
        command: "portcullis fix --yes".to_owned(),
        phase,
        seconds_left,
        changes: vec![
            change("nftables table netdev portcullis (2 chains, 1 rule)", None),
            change("ARP of br0: on → off", Some("it is as before")),
        ],
    };
    let applied = vec![entry(AppliedPhase::Applied, None), entry(AppliedPhase::AwaitsConfirmation, Some(42))];
    let all = plain(|out| text::status(out, &StatusDocument::new(applied.clone())));
    let none = plain(|out| text::status(out, &StatusDocument::new(Vec::new())));
    insta::assert_snapshot!([all, none].join("--\n"));
}
