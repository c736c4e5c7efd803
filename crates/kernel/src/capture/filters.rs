//! tc, tcx, nftables and br_netfilter: what is present, and where.
//!
//! Reading must not change the host: a question that would make the kernel load a module is not asked, for what is not
//! loaded holds no rules.

use std::collections::HashMap;
use std::path::Path;

use portcullis_snapshot::{
    BrNetfilter, Filters, Link, NftBaseChain, NftFlowtable, Reading, TcFilter, TcHook, TcHookKind,
};
use portcullis_wire::{Message, nft, tc};

use super::{bpf, legacy_tables, reading, unsupported};
use crate::netlink::{Family, Socket};
use crate::{Error, sysctl};

/// Reads everything of this sort.
pub(super) fn read(route: &mut Socket, links: &[Link]) -> Filters {
    let (nft_chains, nft_flowtables) = nftables();
    Filters {
        tc: reading(tc_hooks(route)),
        tcx: bpf::tcx(links),
        nft_chains,
        nft_tables: Reading::default(),
        nft_flowtables,
        legacy_tables: legacy_tables::read(),
        br_netfilter: br_netfilter(),
    }
}

/// The filters of every device that has an `ingress` or `clsact` queueing discipline.
fn tc_hooks(route: &mut Socket) -> Result<Vec<TcHook>, Error> {
    const RTM_GETQDISC: u16 = 38;
    let message = Message::new(RTM_GETQDISC, 0).header(&[0; 20]);
    let qdiscs = route.dump("reading queueing disciplines", &message, Vec::new, |qdiscs, reply| {
        qdiscs.extend(tc::qdisc(reply.payload).filter(|qdisc| qdisc.handle == tc::INGRESS_HANDLE));
    })?;
    let mut hooks = Vec::new();
    for qdisc in qdiscs {
        let egress =
            (qdisc.kind == "clsact").then_some((TcHookKind::Egress, 0xffff_fff3, qdisc.egress_block));
        let parent = if qdisc.kind == "clsact" { 0xffff_fff2 } else { tc::INGRESS_HANDLE };
        let ingress = (TcHookKind::Ingress, parent, qdisc.ingress_block);
        for (hook, parent, block) in std::iter::once(ingress).chain(egress) {
            let filters = match block {
                Some(block) => tc_filters(route, TCM_IFINDEX_MAGIC_BLOCK, block)?,
                None => tc_filters(route, qdisc.device.0, parent)?,
            };
            hooks.push(TcHook { device: qdisc.device, hook, qdisc: qdisc.kind.clone(), block, filters });
        }
    }
    Ok(hooks)
}

const TCM_IFINDEX_MAGIC_BLOCK: u32 = 0xffff_ffff;

fn tc_filters(route: &mut Socket, device: u32, parent: u32) -> Result<Vec<TcFilter>, Error> {
    const RTM_GETTFILTER: u16 = 46;
    let mut header = vec![0; 4];
    header.extend(device.to_ne_bytes());
    header.extend([0; 4]);
    header.extend(parent.to_ne_bytes());
    header.extend([0; 4]);
    let message = Message::new(RTM_GETTFILTER, 0).header(&header);
    route.dump("reading tc filters", &message, Vec::new, |filters, reply| {
        filters.extend(tc::filter(reply.payload))
    })
}

/// Whether asking for a module's state would load it.
pub(super) fn would_load(module: &str) -> bool {
    if Path::new("/sys/module").join(module).exists() {
        return false;
    }
    let release = sysctl_release();
    let modules = std::fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let (plain, packed) = (format!("/{module}.ko:"), format!("/{module}.ko."));
    modules.lines().any(|line| line.contains(&plain) || line.contains(&packed))
}

fn sysctl_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn nftables() -> (Reading<Vec<NftBaseChain>>, Reading<Vec<NftFlowtable>>) {
    if would_load("nf_tables") {
        return (Reading::Read(Vec::new()), Reading::Read(Vec::new()));
    }
    let mut socket = match Socket::open(Family::Netfilter) {
        Ok(socket) => socket,
        Err(error) => {
            let unread = error.unread();
            return (Reading::Unread(unread.clone()), Reading::Unread(unread));
        }
    };
    (nft_reading(nft_chains(&mut socket)), nft_reading(nft_flowtables(&mut socket)))
}

/// A kernel without nftables answers `EINVAL` to what it takes for an unknown subsystem.
fn nft_reading<T>(result: Result<T, Error>) -> Reading<T> {
    match result {
        Err(error) if error.errno() == Some(nix::errno::Errno::EINVAL) => {
            unsupported("this kernel has no nftables")
        }
        other => reading(other),
    }
}

const NFNL_SUBSYS_NFTABLES: u16 = 10 << 8;

fn nft_get(what: u16) -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES | what, 0).header(&[0; 4])
}

fn nft_chains(socket: &mut Socket) -> Result<Vec<NftBaseChain>, Error> {
    const NFT_MSG_GETTABLE: u16 = 1;
    const NFT_MSG_GETCHAIN: u16 = 4;
    let tables =
        socket.dump("reading nftables", &nft_get(NFT_MSG_GETTABLE), HashMap::new, |tables, reply| {
            if let Some((family, name, dormant)) = nft::table(reply.payload) {
                tables.insert((family, name), dormant);
            }
        })?;
    let mut chains =
        socket.dump("reading nftables chains", &nft_get(NFT_MSG_GETCHAIN), Vec::new, |chains, reply| {
            chains.extend(nft::base_chain(reply.payload));
        })?;
    for chain in &mut chains {
        chain.dormant = tables.get(&(chain.family, chain.table.clone())).copied().unwrap_or(false);
    }
    Ok(chains)
}

fn nft_flowtables(socket: &mut Socket) -> Result<Vec<NftFlowtable>, Error> {
    const NFT_MSG_GETFLOWTABLE: u16 = 23;
    socket.dump(
        "reading nftables flowtables",
        &nft_get(NFT_MSG_GETFLOWTABLE),
        Vec::new,
        |flowtables, reply| {
            flowtables.extend(nft::flowtable(reply.payload));
        },
    )
}

fn br_netfilter() -> Reading<BrNetfilter> {
    let on = |name: &str| Ok::<_, Error>(sysctl::read_number(&["bridge", name])? != 0);
    let read = || {
        Ok::<_, Error>(BrNetfilter {
            call_iptables: on("bridge-nf-call-iptables")?,
            call_ip6tables: on("bridge-nf-call-ip6tables")?,
            call_arptables: on("bridge-nf-call-arptables")?,
            filter_vlan_tagged: on("bridge-nf-filter-vlan-tagged")?,
            filter_pppoe_tagged: on("bridge-nf-filter-pppoe-tagged")?,
            pass_vlan_input_dev: on("bridge-nf-pass-vlan-input-dev")?,
        })
    };
    match read() {
        Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {
            unsupported("br_netfilter is not loaded")
        }
        other => reading(other),
    }
}
