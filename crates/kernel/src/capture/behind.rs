//! Who is behind a port: the process that holds the tap, the guest that this process is, the container behind a veth.

use std::collections::HashMap;
use std::fs;

use portcullis_snapshot::{Behind, Guest, GuestKind, Link, LinkKind, Netns, NetnsId, ProcessRef, Reading};

use super::namespaces::{self, Names};
use super::processes::{ProcessTable, printable};

/// Fills in everything that processes tell: who holds sockets, taps and macvtaps, and who lives behind veth peers.
pub(super) fn attribute(captured: &mut [Netns], processes: &ProcessTable) {
    let mut peers = Peers { names: namespaces::names_by_id(), processes, known: HashMap::new() };
    for netns in captured.iter_mut() {
        let id = netns.id;
        if let Reading::Read(listeners) = &mut netns.listeners {
            listeners
                .iter_mut()
                .for_each(|listener| listener.processes = processes.of_socket(listener.inode));
        }
        if let Reading::Read(sockets) = &mut netns.packet_sockets {
            sockets.iter_mut().for_each(|socket| socket.processes = processes.of_socket(socket.inode));
        }
        if let Reading::Read(links) = &mut netns.links {
            for link in links {
                link.behind = behind(id, link, &mut peers);
            }
        }
    }
}

/// Who lives in the namespaces of veth peers, each looked at once.
struct Peers<'p> {
    names: Names,
    processes: &'p ProcessTable,
    known: HashMap<NetnsId, Behind>,
}

fn behind(netns: NetnsId, link: &Link, peers: &mut Peers<'_>) -> Option<Behind> {
    let behind = match &link.kind {
        LinkKind::Tun(_) => held_by(peers.processes.of_tap(netns, &link.name)),
        LinkKind::Macvtap(_) => held_by(peers.processes.of_macvtap(link.index.0)),
        LinkKind::Veth => {
            let peer = link.link_netns?.netns.filter(|peer| *peer != netns)?;
            let (names, processes) = (&peers.names, peers.processes);
            peers.known.entry(peer).or_insert_with(|| lives_in(peer, names, processes)).clone()
        }
        _ => return None,
    };
    (behind != Behind::default()).then_some(behind)
}

/// The guest that a process is, if it holds a tap.
fn held_by(processes: Vec<ProcessRef>) -> Behind {
    let guest = processes.iter().find_map(|process| {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
        let arguments: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        guest_of_arguments(arguments.iter().map(AsRef::as_ref))
    });
    let named =
        processes.first().map(|process| Guest { kind: GuestKind::Process, name: process.name.clone() });
    Behind { guest: guest.or(named), processes }
}

/// The name in QEMU's command line. libvirt's begins with `guest=`; Proxmox VE gives an `-id` beside the name.
fn guest_of_arguments<'a>(arguments: impl Iterator<Item = &'a str>) -> Option<Guest> {
    let (mut name, mut id, mut before) = (None, None, "");
    for argument in arguments {
        match before {
            "-name" | "--name" => name = Some(argument),
            "-id" | "--id" => id = Some(argument),
            _ => {}
        }
        before = argument;
    }
    let by_libvirt = name.and_then(|name| name.strip_prefix("guest="));
    let (kind, name) = match (by_libvirt, name, id) {
        (Some(name), _, _) => (GuestKind::Libvirt, name.split(',').next()?.to_owned()),
        (None, Some(name), Some(id)) => (GuestKind::Qemu, format!("{id} ({})", name.split(',').next()?)),
        (None, Some(name), None) => (GuestKind::Qemu, name.split(',').next()?.to_owned()),
        (None, None, id) => (GuestKind::Qemu, id?.to_owned()),
    };
    Some(Guest { kind, name: printable(&name) })
}

/// Who lives in the namespace of a veth peer.
fn lives_in(netns: NetnsId, names: &Names, processes: &ProcessTable) -> Behind {
    let processes = processes.living_in(netns);
    let container = processes.iter().find_map(|process| {
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).ok()?;
        cgroups.lines().find_map(|line| container_of_cgroup(line.rsplit(':').next()?))
    });
    let container = container.map(|name| Guest { kind: GuestKind::Container, name });
    let named = || names.get(&netns).map(|name| Guest { kind: GuestKind::Namespace, name: name.clone() });
    let process =
        || processes.first().map(|process| Guest { kind: GuestKind::Process, name: process.name.clone() });
    Behind { guest: container.or_else(named).or_else(process), processes }
}

/// Returns the name of the container that a control group is of: a name where the runtime gives one, else the first
/// twelve characters of its id, as the runtimes' own tools show it.
#[must_use]
pub fn container_of_cgroup(path: &str) -> Option<String> {
    let id = |text: &str| {
        let id: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
        (id.len() == 64).then(|| id.chars().take(12).collect::<String>())
    };
    let name = |text: &str| Some(printable(text)).filter(|name| !name.is_empty());
    path.split('/').rev().find_map(|part| {
        let unit = part.strip_suffix(".scope").or_else(|| part.strip_suffix(".service")).unwrap_or(part);
        for prefix in ["docker-", "libpod-", "cri-containerd-", "crio-"] {
            if let Some(found) = unit.strip_prefix(prefix).and_then(id) {
                return Some(found);
            }
        }
        if let Some(machine) = unit.strip_prefix("systemd-nspawn@").or_else(|| unit.strip_prefix("machine-"))
        {
            return name(machine);
        }
        if let Some(container) = part.strip_prefix("lxc.payload.") {
            return name(container);
        }
        let (before, _) = path.split_once(&format!("/{part}"))?;
        match before.rsplit('/').next() {
            Some("lxc") => name(part),
            Some("docker") => id(part),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_by_their_control_group() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, expected) in [
            (format!("/system.slice/docker-{id}.scope"), Some("0123456789ab")),
            (format!("/docker/{id}"), Some("0123456789ab")),
            (format!("/machine.slice/libpod-{id}.scope/container"), Some("0123456789ab")),
            (format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"), Some("0123456789ab")),
            ("/lxc.payload.web/init.scope".to_owned(), Some("web")),
            ("/lxc/101/ns/system.slice".to_owned(), Some("101")),
            ("/machine.slice/systemd-nspawn@box.service/payload".to_owned(), Some("box")),
            ("/user.slice/user-1000.slice/session-1.scope".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(container_of_cgroup(&path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn guests_by_their_command_line() {
        let guest = |line: &str| guest_of_arguments(line.split(' ')).map(|guest| (guest.kind, guest.name));
        let libvirt = "/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -S";
        assert_eq!(guest(libvirt), Some((GuestKind::Libvirt, "web".to_owned())));
        assert_eq!(
            guest("/usr/bin/kvm -id 101 -name db,x=y"),
            Some((GuestKind::Qemu, "101 (db)".to_owned()))
        );
        assert_eq!(guest("qemu-system-x86_64 -name plain"), Some((GuestKind::Qemu, "plain".to_owned())));
        assert_eq!(guest("vde_plug tap0"), None);
    }
}
