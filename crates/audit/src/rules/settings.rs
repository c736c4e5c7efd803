//! What the rules about a bridge's own settings share: commands for several ports, frames that nobody needs.

use portcullis_datapath::{Payload, Walk};
use portcullis_snapshot::{EtherType, MacAddr};

use crate::context::{BridgeView, Context, PortView};
use crate::finding::Remedy;
use crate::remedy::shell;
use crate::rule::RemedyDoc;

/// An address that no device has.
pub(super) const NOBODY: MacAddr = MacAddr([0x02, 0x50, 0x43, 0xff, 0xff, 0xff]);
/// How many ports commands are written out for.
const LISTED: usize = 8;

/// Returns a payload that no stack has a handler for (an EtherType for local experiments).
pub(super) fn nothing(_: &PortView<'_>) -> Payload {
    Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0; 46] }
}

/// Returns a remedy of commands.
pub(super) fn by_hand(doc: &RemedyDoc, summary: &'static str, commands: Vec<String>) -> Remedy {
    Remedy { method: doc.method, summary: summary.into(), commands }
}

/// Returns `bridge link set dev PORT …` for some ports.
pub(super) fn port_commands<'v, 's: 'v>(
    context: &Context<'_>,
    ports: impl IntoIterator<Item = &'v PortView<'s>>,
    settings: &str,
) -> Vec<String> {
    let command = |port: &PortView<'_>| {
        context.command(format!("bridge link set dev {} {settings}", shell(&port.link.name)))
    };
    ports.into_iter().take(LISTED).map(command).collect()
}

/// Returns `ip link set dev BRIDGE type bridge …`.
pub(super) fn bridge_command(context: &Context<'_>, bridge: &BridgeView<'_>, settings: &str) -> Vec<String> {
    vec![context.command(format!("ip link set dev {} type bridge {settings}", shell(&bridge.link.name)))]
}

/// Returns the ports behind which somebody is who is not the host's administrator.
pub(super) fn guests<'v, 's>(bridge: &'v BridgeView<'s>) -> impl Iterator<Item = &'v PortView<'s>> {
    bridge.ports.iter().filter(|port| port.role.is_untrusted())
}

/// Returns a port other than the given ones by which frames can come in: the uplink rather than a guest.
pub(super) fn another<'v, 's>(
    bridge: &'v BridgeView<'s>,
    than: &[&PortView<'_>],
) -> Option<&'v PortView<'s>> {
    let other = |port: &&PortView<'_>| !than.iter().any(|known| known.link.index == port.link.index);
    let mut others: Vec<_> = bridge.ports.iter().filter(other).collect();
    others.sort_by_key(|port| port.role.is_untrusted());
    others.first().copied()
}

/// Returns the open questions of the ways that a frame took to a port.
pub(super) fn questions_to(walk: &Walk, port: &PortView<'_>) -> Vec<String> {
    let to_port = walk.ports().find(|delivery| delivery.device == port.link.index);
    to_port.map_or_else(Vec::new, |to| walk.questions(to.assumes).map(|open| open.kind.to_string()).collect())
}

/// Whether a frame left by a port.
pub(super) fn reached(walk: &Walk, port: &PortView<'_>) -> bool {
    walk.ports().any(|delivery| delivery.device == port.link.index)
}

/// Returns names, the first few of them.
pub(super) fn names<'v, 's: 'v>(ports: impl IntoIterator<Item = &'v PortView<'s>>) -> String {
    let all: Vec<_> = ports.into_iter().map(|port| port.link.name.as_str()).collect();
    let more = all.len().saturating_sub(LISTED);
    let listed = all.iter().take(LISTED).copied().collect::<Vec<_>>().join(" ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

/// Returns how an option is.
pub(super) fn on_off(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "not in this kernel",
    }
}
