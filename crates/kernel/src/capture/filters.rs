//! tc, tcx and br_netfilter: what is present, and where.
//!
//! Reading must not change the host: a question that would make the kernel load a module is not asked, for what is not
//! loaded holds no rules.

use std::path::Path;

use portcullis_snapshot::{BrNetfilter, Filters, Link, Reading, TcFilter, TcHook, TcHookKind};
use portcullis_wire::{Message, tc};

use super::{bpf, legacy_tables, nftables, reading, unsupported};
use crate::netlink::Socket;
use crate::{Error, sysctl};

/// Reads everything of this sort.
pub(super) fn read(route: &mut Socket, links: &[Link]) -> Filters {
    let nft = nftables::read();
    Filters {
        tc: reading(tc_hooks(route)),
        tcx: bpf::tcx(links),
        nft_chains: nft.chains,
        nft_tables: nft.tables,
        nft_flowtables: nft.flowtables,
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
