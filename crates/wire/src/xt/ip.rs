//! iptables' header (`struct ipt_ip` in `ip_tables.h`).

use portcullis_snapshot::{IptHeader, LegacyFamily};

use super::info::{Info, value};
use super::tables::{Entry, Layout};

/// `struct ipt_entry`.
pub(super) const LAYOUT: Layout =
    Layout { family: LegacyFamily::Iptables, hooks: 5, target_offset: 88, len: 112 };

/// `struct ipt_ip`.
pub(super) fn header(entry: Info<'_>) -> Option<Entry<IptHeader>> {
    const FAMILY: LegacyFamily = LegacyFamily::Iptables;
    let (protocol, set, inverted) = (entry.u16(80)?, entry.u8(82)?, entry.u8(83)?);
    let (fragment, not_fragment) = (set & 1 != 0, inverted & 0x20 != 0);
    let header = IptHeader {
        source: entry.address(FAMILY, (0, 8), inverted & 8 != 0)?,
        destination: entry.address(FAMILY, (4, 12), inverted & 0x10 != 0)?,
        input: entry.device((16, 48), inverted & 1 != 0)?,
        output: entry.device((32, 64), inverted & 2 != 0)?,
        protocol: (protocol != 0).then(|| value(protocol, inverted & 0x40 != 0)),
        fragment: (fragment || not_fragment).then(|| value(fragment, not_fragment)),
    };
    Some(Entry { header, goto: set & 2 != 0 })
}
