//! Which of the host's sockets listen where a guest gets to.

use std::net::IpAddr;

use portcullis_snapshot::{IfIndex, ListenProtocol, Listener, Reading};

use crate::context::Context;

/// How many sockets are listed by name.
const LISTED: usize = 12;

/// Returns the sockets that take what arrives on a device for one of these addresses, in words.
pub(crate) fn listed(context: &Context<'_>, device: IfIndex, addresses: &[IpAddr]) -> String {
    let listeners = match &context.netns().listeners {
        Reading::Read(listeners) => listeners,
        Reading::Unread(why) => return format!("not read: {}", why.reason),
    };
    let mut names: Vec<_> = listeners
        .iter()
        .filter(|listener| takes(listener, device, addresses))
        .map(|listener| (listener.protocol, listener.port, name(listener)))
        .collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(LISTED);
    let shown: Vec<_> = names.into_iter().take(LISTED).map(|(.., name)| name).collect();
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Whether a socket takes packets for one of these addresses that come in on a device.
fn takes(listener: &Listener, device: IfIndex, addresses: &[IpAddr]) -> bool {
    let here = listener.device.is_none_or(|bound| bound == device);
    let any = match listener.address {
        IpAddr::V4(any) if any.is_unspecified() => addresses.iter().any(IpAddr::is_ipv4),
        IpAddr::V6(any) if any.is_unspecified() => {
            addresses.iter().any(|address| address.is_ipv6() || listener.v6only != Some(true))
        }
        bound => addresses.contains(&bound.to_canonical()),
    };
    here && any
}

fn name(listener: &Listener) -> String {
    let protocol = match listener.protocol {
        ListenProtocol::Tcp => "tcp",
        ListenProtocol::Udp => "udp",
    };
    let process =
        listener.processes.first().map_or_else(String::new, |process| format!(" ({})", process.name));
    format!("{protocol} {}{process}", listener.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::testing::Host;
    use portcullis_snapshot::ProcessRef;

    fn listener(address: &str, port: u16, v6only: Option<bool>) -> Listener {
        Listener {
            protocol: ListenProtocol::Tcp,
            address: address.parse().unwrap(),
            port,
            device: None,
            v6only,
            uid: 0,
            inode: 1,
            processes: vec![ProcessRef { pid: 1, name: "sshd".to_owned() }],
        }
    }

    #[test]
    fn sockets_count_if_they_take_the_address() {
        let mut host = Host::hypervisor();
        host.netns().listeners = Reading::Read(vec![
            listener("0.0.0.0", 22, None),
            listener("127.0.0.1", 25, None),
            listener("10.1.2.3", 80, None),
            listener("::", 443, Some(false)),
            listener("::", 8443, Some(true)),
        ]);
        let policy = Policy::default();
        let netns = &host.snapshot.namespaces[0];
        let context = Context::new(&host.snapshot, netns, &policy).unwrap();
        let text = listed(&context, IfIndex(1), &["10.1.2.3".parse().unwrap()]);
        assert_eq!(text, "tcp 22 (sshd), tcp 80 (sshd), tcp 443 (sshd)");
    }
}
