//! That the rules of large hosts, which benchmarks go by, are what `nft` and a kernel make of such a product's text.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_snapshot::{NftBaseChain, NftExpr, NftTable, Snapshot};
use portcullis_testnet::{AntiSpoofing, Guest, fresh, large_host, skip};

/// Runs `nft -f -`; else why not.
fn nft(ruleset: &str) -> Result<(), String> {
    let mut command = Command::new("nft");
    let command = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft: {error}"))?;
    child.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    assert!(!said.contains("syntax error"), "{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The only table of a snapshot and its base chains.
fn rules(snapshot: Snapshot) -> (NftTable, Vec<NftBaseChain>) {
    let filters = &snapshot.namespaces[0].filters;
    let [table] = filters.nft_tables.known() else { unreachable!("{filters:#?}") };
    (table.clone(), filters.nft_chains.known().to_vec())
}

fn captured() -> (NftTable, Vec<NftBaseChain>) {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    rules(capture(&request).unwrap())
}

/// Without what is numbered by whoever makes it, and in an order that is not the kernel's.
fn comparable((mut table, mut bases): (NftTable, Vec<NftBaseChain>)) -> (NftTable, Vec<NftBaseChain>) {
    table.chains.sort_by(|one, other| one.name.cmp(&other.name));
    bases.sort_by(|one, other| one.chain.cmp(&other.chain));
    let mut names = BTreeMap::new();
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        rule.handle = 0;
        for expr in &mut rule.expressions {
            if let NftExpr::Lookup { set, .. } = expr
                && set.starts_with("__")
            {
                let name = format!("anonymous {}", names.len());
                *set = names.entry(set.clone()).or_insert(name).clone();
            }
        }
    }
    for set in &mut table.sets {
        if let Some(name) = names.get(&set.name) {
            set.name.clone_from(name);
        }
    }
    table.sets.sort_by(|one, other| one.name.cmp(&other.name));
    (table, bases)
}

fn guests(style: AntiSpoofing) -> [Guest; 3] {
    [0, 1, 2].map(|number| Guest::new(number, number % 2, style))
}

#[test]
fn as_libvirt_writes_them() {
    fresh(|| {
        let guests = guests(AntiSpoofing::Libvirt);
        let jumps: String =
            guests.iter().map(|guest| format!("iifname \"{0}\" jump I-{0}\n", guest.port)).collect();
        let chain = |Guest { port, mac, ip, .. }: &Guest| {
            format!(
                "chain I-{port} {{
                    ether saddr != {mac} drop
                    arp saddr ether != {mac} drop
                    arp saddr ip != {ip} drop
                    ether type arp accept
                    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
                    ip saddr {ip} accept
                    drop
                }}
                "
            )
        };
        let chains: String = guests.iter().map(chain).collect();
        let made = nft(&format!(
            "table bridge libvirt {{
                chain prerouting {{ type filter hook prerouting priority -300; policy accept;\n{jumps} }}
                {chains}
            }}"
        ));
        if let Err(why) = made {
            skip!("{why}");
        }
        let wanted = rules(large_host(guests.len(), 2, AntiSpoofing::Libvirt));
        assert_eq!(comparable(captured()), comparable(wanted));
    });
}

/// The guests' table of Proxmox VE's firewall; where a kernel cannot track bridged connections, without those rules.
fn proxmox(guests: &[Guest], connections: bool) -> String {
    let by_connection = if connections {
        "meta protocol != arp ct state vmap { invalid : jump invalid-conntrack, established : accept, related : accept }"
    } else {
        ""
    };
    let mut text = format!(
        "table bridge proxmox-firewall-guests {{
            map vm-map-in {{ typeof oifname : verdict; }}
            map vm-map-out {{ typeof iifname : verdict; }}
            chain allow-icmp {{
                icmp type {{ 3, 4, 11 }} accept
                icmpv6 type {{ 1, 2, 3, 4 }} accept
            }}
            chain invalid-conntrack {{ }}
            chain pre-vm-in {{
                {by_connection}
                meta protocol arp accept
            }}
            chain pre-vm-out {{
                {by_connection}
            }}
            chain allow-dhcp-in {{ udp sport . udp dport {{ 67 . 68, 547 . 546 }} accept; }}
            chain allow-dhcp-out {{ udp sport . udp dport {{ 68 . 67, 546 . 547 }} accept; }}
            chain allow-ndp-in {{ icmpv6 type {{ 133, 134, 135, 136, 137 }} accept; }}
            chain allow-ndp-out {{ icmpv6 type {{ 133, 135, 136 }} accept; }}
            chain block-ra-out {{ icmpv6 type {{ 134, 137 }} drop; }}
            chain vm-out {{ type filter hook prerouting priority 0; policy accept;
                jump allow-icmp
                iifname vmap @vm-map-out
            }}
            chain vm-in {{ type filter hook postrouting priority 0; policy accept;
                jump allow-icmp
                oifname vmap @vm-map-in
            }}
        }}
        "
    );
    for Guest { port, vmid, mac, ip, link_local } in guests {
        let (v4, v6) = (format!("v4-guest-{vmid}/ipfilter-net0"), format!("v6-guest-{vmid}/ipfilter-net0"));
        let mark = if connections { format!("ct mark set {vmid}") } else { String::new() };
        text += &format!(
            "table bridge proxmox-firewall-guests {{
                set {v4} {{ type ipv4_addr; flags interval; elements = {{ {ip} }}; }}
                set {v4}-nomatch {{ type ipv4_addr; flags interval; }}
                set {v6} {{ type ipv6_addr; flags interval; elements = {{ {link_local} }}; }}
                set {v6}-nomatch {{ type ipv6_addr; flags interval; }}
                chain guest-{vmid}-in {{
                    jump pre-vm-in
                    oifname \"{port}\" arp daddr ip != @{v4} drop
                    jump allow-dhcp-in
                    jump allow-ndp-in
                    {mark}
                    accept
                }}
                chain guest-{vmid}-out {{
                    jump pre-vm-out
                    iifname \"{port}\" ip saddr != @{v4} drop
                    iifname \"{port}\" ip saddr @{v4}-nomatch drop
                    iifname \"{port}\" ip6 saddr != @{v6} drop
                    iifname \"{port}\" ip6 saddr @{v6}-nomatch drop
                    iifname \"{port}\" arp saddr ip != @{v4} drop
                    iifname . ether saddr != {{ \"{port}\" . {mac} }} drop
                    iifname . arp saddr ether != {{ \"{port}\" . {mac} }} drop
                    jump allow-dhcp-out
                    jump allow-ndp-out
                    jump block-ra-out
                    meta protocol arp accept
                    {mark}
                    accept
                }}
            }}
            add element bridge proxmox-firewall-guests vm-map-in {{ \"{port}\" : goto guest-{vmid}-in }}
            add element bridge proxmox-firewall-guests vm-map-out {{ \"{port}\" : goto guest-{vmid}-out }}
            "
        );
    }
    text
}

#[test]
fn as_proxmox_writes_them() {
    fresh(|| {
        let guests = guests(AntiSpoofing::Proxmox);
        let mut wanted = rules(large_host(guests.len(), 2, AntiSpoofing::Proxmox));
        if let Err(why) = nft(&proxmox(&guests, true)) {
            println!("without connections, because {why}");
            if let Err(why) = nft(&proxmox(&guests, false)) {
                skip!("{why}");
            }
            let by_connection = |expr: &NftExpr| matches!(expr, NftExpr::Other { name, .. } | NftExpr::NoEffect(name) if name == "ct");
            for chain in &mut wanted.0.chains {
                chain.rules.retain(|rule| !rule.expressions.iter().any(by_connection));
            }
            wanted.0.sets.retain(|set| !set.name.starts_with("__map"));
        }
        assert_eq!(comparable(captured()), comparable(wanted));
    });
}
