//! tc, tcx and br_netfilter: what is present, and where.
//!
//! Reading must not change the host: a question that would make the kernel load a module is not asked, for what is not
//! loaded holds no rules.

use std::path::Path;

use portcullis_snapshot::{BrNetfilter, Filters, Link, Reading};

use super::{bpf, ipsets, legacy_tables, nftables, reading, tc, unsupported};
use crate::netlink::Socket;
use crate::{Error, sysctl};

/// Reads everything of this sort.
pub(super) fn read(route: &mut Socket, links: &[Link]) -> Filters {
    let (nft, legacy_tables) = (nftables::read(), legacy_tables::read());
    let ipsets = ipsets::read(legacy_tables.known(), nft.tables.known());
    Filters {
        tc: reading(tc::hooks(route)),
        tcx: bpf::tcx(links),
        nft_chains: nft.chains,
        nft_tables: nft.tables,
        nft_flowtables: nft.flowtables,
        legacy_tables,
        ipsets,
        br_netfilter: br_netfilter(),
    }
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
