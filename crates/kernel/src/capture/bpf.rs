//! BPF programs that are attached by tcx or netkit, which no netlink message tells of.

use nix::errno::Errno;
use portcullis_snapshot::{Link, LinkKind, Reading, TcHookKind, TcxPrograms};

use super::{reading, unsupported};
use crate::{Error, sys};

const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_NETKIT_PRIMARY: u32 = 54;
const BPF_NETKIT_PEER: u32 = 55;

/// Asks every interface for its programs. The kernel wants `CAP_NET_ADMIN` of the first user namespace for that.
///
/// A netkit's programs run as frames leave one of its ends: the primary's own on the way out of it, the peer's on the
/// way in. Only the primary tells of either (`netkit_dev_fetch`).
pub(super) fn tcx(links: &[Link]) -> Reading<Vec<TcxPrograms>> {
    // Where nobody loaded a program, one interface is enough to tell whether this kernel has tcx.
    let none_loaded = sys::bpf_prog_get_next_id(0) == Err(Errno::ENOENT);
    let mut found = Vec::new();
    for link in links.iter().take(if none_loaded { 1 } else { usize::MAX }) {
        let netkit = matches!(&link.kind, LinkKind::Other(kind) if kind == "netkit");
        let tcx = [(TcHookKind::Ingress, BPF_TCX_INGRESS), (TcHookKind::Egress, BPF_TCX_EGRESS)];
        let of_netkit = [(TcHookKind::Egress, BPF_NETKIT_PRIMARY), (TcHookKind::Ingress, BPF_NETKIT_PEER)];
        for (hook, attach_type) in tcx.into_iter().chain(of_netkit.into_iter().filter(|_| netkit)) {
            match sys::bpf_prog_query(link.index.0, attach_type) {
                Ok(programs) if programs.is_empty() => {}
                Ok(programs) => found.push(TcxPrograms { device: link.index, hook, programs }),
                // Nothing was ever attached, the interface went away, or it is the other end of a netkit.
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(Errno::EACCES) if netkit => {}
                Err(Errno::EINVAL | Errno::ENOSYS) => return unsupported("this kernel has no tcx"),
                Err(errno) => return reading(Err(Error::refused("reading tcx programs", errno))),
            }
        }
    }
    Reading::Read(found)
}
