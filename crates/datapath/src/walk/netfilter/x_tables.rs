//! `net/netfilter/x_tables.c`, and what `ipt_do_table`, `ip6t_do_table`, `arpt_do_table` and `ebt_do_table` have in common:
//! the rules of a legacy table, one after the other.

use portcullis_snapshot::{LegacyFamily, LegacyHeader, XtAddress, XtMac, XtRange, XtValue, XtVerdict};

use super::nft_payload::Transport;
use super::{NfState, NfVerdict};
use crate::frame::{Field, Frame, Set};
use crate::network::{Target, XtRule, XtTable};
use crate::walk::{OpenKind, Skb, Walker};

/// What a rule of x_tables is evaluated with (`struct xt_action_param`).
pub(super) struct Xt<'p> {
    pub(super) state: NfState,
    /// Whether this is `broute` of ebtables (`NF_BR_BROUTING`).
    pub(super) brouting: bool,
    /// The transport header, once it was looked for.
    pub(super) transport: Option<Option<Transport>>,
    /// Names the rule, for people.
    pub(super) place: &'p dyn Fn() -> String,
}

/// Whether a match holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    Holds,
    Not,
    /// The packet is dropped: it claims a header that it does not have (`hotdrop`).
    HotDrop,
}

impl From<bool> for Matched {
    fn from(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Not }
    }
}

/// A field that lies in a set, or with `inverted` does not.
pub(super) const NEVER: [Set; 0] = [];

/// Returns the set that a rule's address and mask stand for; none if nothing matches.
pub(super) fn address_set(address: &XtAddress) -> Option<Set> {
    let number = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
        std::net::IpAddr::V6(ip) => u128::from(ip),
    };
    let (value, mask) = (number(address.address), number(address.mask));
    (value & !mask == 0).then_some(Set::Masked { value, mask })
}

impl<F: Frame> Walker<'_, '_, F> {
    /// The rules of a base chain of a legacy table.
    pub(super) fn xt_do_table(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: usize,
        base: usize,
    ) -> NfVerdict {
        let network = self.network;
        let Some(table) = network.hooks().xt_table(table) else { return NfVerdict::Accept };
        match (table.table.family, table.table.table.as_str()) {
            (LegacyFamily::Ebtables, "broute") => self.ebt_broute(skb, state, table, base),
            (LegacyFamily::Arptables, _) => self.arpt_do_table(skb, state, table, base),
            (LegacyFamily::Iptables | LegacyFamily::Ip6tables, "nat") => {
                self.nf_nat_inet_fn(skb, state, table, base)
            }
            _ => self.xt_chain(skb, state, table, base),
        }
    }

    pub(super) fn xt_chain(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: &XtTable<'_>,
        base: usize,
    ) -> NfVerdict {
        let brouting = table.table.table == "broute";
        let function = do_table(table.table.family);
        let mut transport = None;
        let mut stack: Vec<(usize, usize)> = Vec::new();
        let (mut chain, mut next) = (base, 0);
        loop {
            let Some(now) = table.chains.get(chain) else { return NfVerdict::Accept };
            let at = (chain, next);
            let place = || match now.rules.get(at.1) {
                Some(_) => format!("{} {} {} rule {}", table.tool(), table.table.table, now.name, at.1 + 1),
                None => format!("{} {} {}: policy", table.tool(), table.table.table, now.name),
            };
            let verdict = match now.rules.get(next) {
                None => Target::Verdict(now.policy),
                Some(rule) => {
                    next += 1;
                    let mut xt = Xt { state: *state, brouting, transport, place: &place };
                    let matched = self.xt_rule_match(skb, &mut xt, rule);
                    transport = xt.transport;
                    match matched {
                        Matched::Not => continue,
                        Matched::HotDrop => Target::Verdict(XtVerdict::Drop),
                        Matched::Holds => match &rule.target {
                            Target::Extension(target) => {
                                Target::Verdict(self.xt_target(skb, &mut xt, target))
                            }
                            Target::Verdict(verdict) => Target::Verdict(*verdict),
                            Target::Jump(to) => Target::Jump(*to),
                            Target::Goto(to) => Target::Goto(*to),
                            Target::Nowhere(name) => Target::Nowhere(name),
                        },
                    }
                }
            };
            match verdict {
                Target::Verdict(XtVerdict::Accept) => return NfVerdict::Accept,
                Target::Verdict(XtVerdict::Drop) => {
                    let reason = if brouting { "broute: to the host" } else { "a rule drops it" };
                    if !brouting {
                        self.drop_skb(function, skb, reason, format_args!("{}", place()));
                    }
                    return NfVerdict::Drop;
                }
                Target::Verdict(XtVerdict::Continue) | Target::Extension(_) => {}
                Target::Verdict(XtVerdict::Return) => match stack.pop() {
                    Some(back) => (chain, next) = back,
                    None if chain == base && at.1 >= now.rules.len() => return NfVerdict::Accept,
                    // From where nobody jumped, to the base chain's policy.
                    None => (chain, next) = (base, table.chains.get(base).map_or(0, |base| base.rules.len())),
                },
                Target::Jump(to) => {
                    if stack.len() > table.chains.len() {
                        return NfVerdict::Drop;
                    }
                    stack.push((chain, next));
                    (chain, next) = (to, 0);
                }
                Target::Goto(to) => (chain, next) = (to, 0),
                Target::Verdict(XtVerdict::Queue | XtVerdict::Other(_)) | Target::Nowhere(_) => {
                    let what = format!("{}: a queue, or a verdict that is not known", place());
                    return self.xt_open_verdict(skb, function, what);
                }
            }
        }
    }

    /// A verdict that is somebody else's.
    pub(super) fn xt_open_verdict(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        what: String,
    ) -> NfVerdict {
        if self.undecided(skb, function, OpenKind::Filter(what.clone())) {
            self.drop_skb(function, skb, "a rule drops it", format_args!("{what}"));
            return NfVerdict::Drop;
        }
        NfVerdict::Accept
    }

    /// Whether everything that a rule asks for holds.
    fn xt_rule_match(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, rule: &XtRule<'_>) -> Matched {
        let devices = &rule.devices;
        if !devices.input.holds(xt.state.iif) || !devices.output.holds(xt.state.oif) {
            return Matched::Not;
        }
        let header = match rule.header {
            LegacyHeader::Ip(header) => self.ip_packet_match(skb, header).into(),
            LegacyHeader::Ip6(header) => self.ip6_packet_match(skb, xt, header),
            LegacyHeader::Arp(header) => self.arp_packet_match(skb, header).into(),
            LegacyHeader::Bridge(header) => self.ebt_basic_match(skb, xt, devices, header).into(),
        };
        if header != Matched::Holds {
            return header;
        }
        for one in &rule.matches {
            let matched = self.xt_match(skb, xt, one);
            if matched != Matched::Holds {
                return matched;
            }
        }
        Matched::Holds
    }

    /// Something that nothing here tells: whether it holds.
    pub(super) fn xt_unknown(&mut self, skb: &mut Skb, xt: &Xt<'_>, name: &str) -> bool {
        let what = format!("{}: the match {name}", (xt.place)());
        self.undecided(skb, "xt_match", OpenKind::Filter(what))
    }

    /// Whether an address lies under a rule's mask.
    pub(super) fn xt_address(&mut self, field: Field, address: Option<&XtAddress>) -> bool {
        let Some(address) = address else { return true };
        let inside = match address_set(address) {
            Some(Set::Masked { mask: 0, .. }) => true,
            Some(set) => self.frame.is(field, set),
            None => self.frame.is_any(field, &NEVER),
        };
        inside != address.inverted
    }

    pub(super) fn xt_mac(&mut self, field: Field, mac: Option<&XtMac>) -> bool {
        let Some(mac) = mac else { return true };
        let set = Set::Masked { value: mac.address.to_u64().into(), mask: mac.mask.to_u64().into() };
        self.frame.is(field, set) != mac.inverted
    }

    pub(super) fn xt_value<T: Into<u128> + Copy>(
        &mut self,
        field: Field,
        value: Option<&XtValue<T>>,
    ) -> bool {
        let Some(value) = value else { return true };
        self.frame.is(field, Set::Exactly(value.value.into())) != value.inverted
    }

    pub(super) fn xt_range<T: Into<u128> + Copy>(
        &mut self,
        field: Field,
        range: Option<&XtRange<T>>,
    ) -> bool {
        let Some(range) = range else { return true };
        let (from, to) = (range.from.into(), range.to.into());
        let inside = if from > to { false } else { self.frame.is(field, Set::Range(from, to)) };
        inside != range.inverted
    }
}

const fn do_table(family: LegacyFamily) -> &'static str {
    match family {
        LegacyFamily::Iptables => "ipt_do_table",
        LegacyFamily::Ip6tables => "ip6t_do_table",
        LegacyFamily::Arptables => "arpt_do_table",
        LegacyFamily::Ebtables => "ebt_do_table",
    }
}
