//! Legacy tables, made ready to be evaluated: names of chains and devices are resolved once.

use portcullis_snapshot::{
    Filters, IfIndex, IpSet, LegacyChain, LegacyFamily, LegacyHeader, LegacyRule, LegacyTable, LegacyTarget,
    Link, NftExpr, NftFamily, XtDevice, XtInterface, XtMatch, XtTarget, XtVerdict,
};

use super::NfHook;

/// A table, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct XtTable<'s> {
    pub(crate) table: &'s LegacyTable,
    pub(crate) chains: Vec<XtChain<'s>>,
}

/// A chain of it.
#[derive(Debug)]
pub(crate) struct XtChain<'s> {
    pub(crate) name: &'s str,
    pub(crate) policy: XtVerdict,
    pub(crate) rules: Vec<XtRule<'s>>,
}

/// A rule of it.
#[derive(Debug)]
pub(crate) struct XtRule<'s> {
    pub(crate) header: &'s LegacyHeader,
    pub(crate) devices: Devices,
    pub(crate) matches: Vec<Match<'s>>,
    pub(crate) target: Target<'s>,
}

/// A match, with the devices that it names resolved.
#[derive(Debug)]
pub(crate) enum Match<'s> {
    /// The ports of the bridge.
    Physdev(&'s portcullis_snapshot::XtPhysdev, Device, Device),
    /// A set of ipset.
    Set {
        asked: &'s portcullis_snapshot::XtSetMatch,
        /// `None` if it was not read.
        set: Option<&'s IpSet>,
        /// Whether a rule adds to it, or takes from it.
        changes: bool,
    },
    /// Any other.
    Plain(&'s XtMatch),
}

/// The sets of ipset.
#[derive(Debug)]
pub(crate) struct Sets<'s> {
    known: &'s [IpSet],
    /// Those that rules add to, or take from.
    changing: Vec<u16>,
}

impl<'s> Sets<'s> {
    pub(crate) fn new(filters: &'s Filters) -> Self {
        let rules = filters.legacy_tables.known().iter().flat_map(|table| table.chains.known());
        let targets = rules.flat_map(|chain| &chain.rules).filter_map(|rule| match &rule.target {
            LegacyTarget::Extension(target) => Some(target),
            _ => None,
        });
        let nft = filters.nft_tables.known().iter().flat_map(|table| &table.chains);
        let expressions = nft.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.expressions);
        let nft = expressions.filter_map(|expr| match expr {
            NftExpr::Target(target) => Some(target),
            _ => None,
        });
        let changed = targets.chain(nft).filter_map(|target| match target {
            XtTarget::Set(set) => Some([&set.add, &set.delete]),
            _ => None,
        });
        let changing = changed.flatten().flatten().map(|set| set.index).collect();
        Self { known: filters.ipsets.known(), changing }
    }
}

/// What a rule does, with the chain that it names resolved.
#[derive(Debug)]
pub(crate) enum Target<'s> {
    Verdict(XtVerdict),
    Jump(usize),
    Goto(usize),
    Extension(&'s XtTarget),
    /// To a chain that was not read.
    Nowhere(&'s str),
}

/// The devices that a rule asks for.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(crate) input: Device,
    pub(crate) output: Device,
    pub(crate) logical_input: Device,
    pub(crate) logical_output: Device,
}

/// A device that a rule asks for.
#[derive(Debug, Default)]
pub(crate) enum Device {
    /// Any, and none.
    #[default]
    Any,
    /// One of these, in order; or none of them.
    Listed {
        indices: Vec<IfIndex>,
        inverted: bool,
        /// Whether no device at all counts as one of them.
        none: bool,
    },
}

impl Device {
    fn new(links: &[Link], device: Option<&XtDevice>) -> Self {
        let Some(XtDevice { interface, inverted }) = device else { return Self::Any };
        if matches!(interface, XtInterface::Any) && !inverted {
            return Self::Any;
        }
        let named = |name: &str| match interface {
            XtInterface::Any => true,
            XtInterface::Name(wanted) => name == wanted,
            XtInterface::Prefix(prefix) => name.starts_with(prefix.as_str()),
            XtInterface::Masked { name: wanted, mask } => {
                let bytes = name.bytes().chain(std::iter::repeat(0));
                wanted
                    .0
                    .iter()
                    .zip(&mask.0)
                    .zip(bytes)
                    .all(|((wanted, mask), byte)| (wanted ^ byte) & mask == 0)
            }
        };
        let mut indices: Vec<_> =
            links.iter().filter(|link| named(&link.name)).map(|link| link.index).collect();
        indices.sort_unstable();
        Self::Listed { indices, inverted: *inverted, none: named("") }
    }

    /// Whether the device of a packet, if it has one, is what the rule asks for.
    pub(crate) fn holds(&self, device: Option<IfIndex>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed { indices, inverted, none } => {
                device.map_or(*none, |device| indices.binary_search(&device).is_ok()) != *inverted
            }
        }
    }
}

impl Devices {
    fn new(links: &[Link], header: &LegacyHeader) -> Self {
        let (input, output, logical) = match header {
            LegacyHeader::Ip(header) => (&header.input, &header.output, None),
            LegacyHeader::Ip6(header) => (&header.input, &header.output, None),
            LegacyHeader::Arp(header) => (&header.input, &header.output, None),
            LegacyHeader::Bridge(header) => {
                (&header.input, &header.output, Some((&header.logical_input, &header.logical_output)))
            }
        };
        let of = |device: &Option<XtDevice>| Device::new(links, device.as_ref());
        Self {
            input: of(input),
            output: of(output),
            logical_input: logical.map_or(Device::Any, |(input, _)| of(input)),
            logical_output: logical.map_or(Device::Any, |(_, output)| of(output)),
        }
    }
}

impl<'s> Match<'s> {
    pub(crate) fn new(links: &[Link], sets: &Sets<'s>, xt: &'s XtMatch) -> Self {
        match xt {
            XtMatch::Physdev(physdev) => {
                let of = |device: &Option<XtDevice>| Device::new(links, device.as_ref());
                Self::Physdev(physdev, of(&physdev.input), of(&physdev.output))
            }
            XtMatch::Set(asked) => {
                let index = asked.set.index;
                let set = sets.known.iter().find(|known| known.index == index);
                Self::Set { asked, set, changes: sets.changing.contains(&index) }
            }
            other => Self::Plain(other),
        }
    }
}

impl<'s> XtTable<'s> {
    /// Makes a table ready; `None` if its rules were not read.
    pub(crate) fn new(links: &[Link], sets: &Sets<'s>, table: &'s LegacyTable) -> Option<Self> {
        let chains = table.chains.read()?;
        let place = |name: &str| chains.iter().position(|chain| chain.name == name);
        let target = |target: &'s LegacyTarget| match target {
            LegacyTarget::Verdict(verdict) => Target::Verdict(*verdict),
            LegacyTarget::Jump(name) => place(name).map_or(Target::Nowhere(name), Target::Jump),
            LegacyTarget::Goto(name) => place(name).map_or(Target::Nowhere(name), Target::Goto),
            LegacyTarget::Extension(xt) => Target::Extension(xt),
        };
        let rule = |rule: &'s LegacyRule| XtRule {
            header: &rule.header,
            devices: Devices::new(links, &rule.header),
            matches: rule.matches.iter().map(|xt| Match::new(links, sets, xt)).collect(),
            target: target(&rule.target),
        };
        let chain = |chain: &'s LegacyChain| XtChain {
            name: &chain.name,
            policy: chain.policy,
            rules: chain.rules.iter().map(rule).collect(),
        };
        Some(Self { table, chains: chains.iter().map(chain).collect() })
    }

    /// The tool that made it, which is how people know its family.
    pub(crate) const fn tool(&self) -> &'static str {
        tool(self.table.family)
    }

    /// Whether a rule of it translates addresses.
    pub(crate) fn translates(&self) -> bool {
        let translates =
            |target: &Target<'_>| matches!(target, Target::Extension(target) if translates(target));
        self.chains.iter().flat_map(|chain| &chain.rules).any(|rule| translates(&rule.target))
    }
}

/// Whether a target translates addresses.
pub(super) const fn translates(target: &XtTarget) -> bool {
    matches!(
        target,
        XtTarget::Dnat(_)
            | XtTarget::Snat(_)
            | XtTarget::Masquerade(_)
            | XtTarget::Redirect(_)
            | XtTarget::Netmap(_)
    )
}

pub(crate) const fn tool(family: LegacyFamily) -> &'static str {
    match family {
        LegacyFamily::Iptables => "iptables",
        LegacyFamily::Ip6tables => "ip6tables",
        LegacyFamily::Arptables => "arptables",
        LegacyFamily::Ebtables => "ebtables",
    }
}

/// The hooks of a table, and where among the others it stands there (`NF_IP_PRI_*`, `NF_BR_PRI_*`): by the hook's
/// number in its family, which `BROUTING` of ebtables is 5.
pub(crate) fn hooks_of(family: LegacyFamily, table: &str) -> &'static [(u32, NfHook, i32)] {
    use NfHook::{Forward, LocalIn, LocalOut, PostRouting, PreRouting};
    match (family, table) {
        (LegacyFamily::Ebtables, "broute") => &[(5, PreRouting, i32::MIN)],
        (LegacyFamily::Ebtables, "nat") => {
            &[(0, PreRouting, -300), (3, LocalOut, 100), (4, PostRouting, 300)]
        }
        (LegacyFamily::Ebtables, _) => &[(1, LocalIn, -200), (2, Forward, -200), (3, LocalOut, 200)],
        (LegacyFamily::Arptables, _) => &[(0, LocalIn, 0), (1, LocalOut, 0), (2, Forward, 0)],
        (_, "raw") => &[(0, PreRouting, -300), (3, LocalOut, -300)],
        (_, "mangle") => &[
            (0, PreRouting, -150),
            (1, LocalIn, -150),
            (2, Forward, -150),
            (3, LocalOut, -150),
            (4, PostRouting, -150),
        ],
        (_, "nat") => &[(0, PreRouting, -100), (1, LocalIn, 100), (3, LocalOut, -100), (4, PostRouting, 100)],
        (_, "security") => &[(1, LocalIn, 50), (2, Forward, 50), (3, LocalOut, 50)],
        _ => &[(1, LocalIn, 0), (2, Forward, 0), (3, LocalOut, 0)],
    }
}

/// The netfilter family of a tool.
pub(crate) const fn family_of(family: LegacyFamily) -> NftFamily {
    match family {
        LegacyFamily::Iptables => NftFamily::Ip,
        LegacyFamily::Ip6tables => NftFamily::Ip6,
        LegacyFamily::Arptables => NftFamily::Arp,
        LegacyFamily::Ebtables => NftFamily::Bridge,
    }
}
