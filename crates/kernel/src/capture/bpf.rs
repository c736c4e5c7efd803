//! BPF programs that are attached by tcx or netkit, which no netlink message tells of.

use nix::errno::Errno;
use portcullis_snapshot::{Link, LinkKind, Reading, TcHookKind, TcxPrograms};

use super::{reading, unsupported};
use crate::{Error, sys};

const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_NETKIT_PRIMARY: u32 = 54;

/// Asks every interface for its programs.
pub(super) fn tcx(links: &[Link]) -> Reading<Vec<TcxPrograms>> {
    let mut found = Vec::new();
    for link in links {
        let netkit = matches!(&link.kind, LinkKind::Other(kind) if kind == "netkit");
        let hooks = [
            (TcHookKind::Ingress, BPF_TCX_INGRESS, true),
            (TcHookKind::Egress, BPF_TCX_EGRESS, true),
            (TcHookKind::Ingress, BPF_NETKIT_PRIMARY, netkit),
        ];
        for (hook, attach_type, _) in hooks.into_iter().filter(|(_, _, ask)| *ask) {
            match sys::bpf_prog_query(link.index.0, attach_type) {
                Ok(programs) if programs.is_empty() => {}
                Ok(programs) => found.push(TcxPrograms { device: link.index, hook, programs }),
                // Nothing was ever attached; or the interface went away.
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(Errno::EINVAL | Errno::ENOSYS) => return unsupported("this kernel has no tcx"),
                Err(errno) => return reading(Err(Error::refused("reading tcx programs", errno))),
            }
        }
    }
    Reading::Read(found)
}
