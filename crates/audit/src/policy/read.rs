//! Reading the policy file: every error names its line and column, and what would have been right there.
//!
//! The file is TOML. Its tables are taken apart by hand rather than by derive, so that each key and each value keeps
//! its place. Keys are listed once, in the `const` beside the function that reads their table.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use jiff::civil::Date;
use portcullis_snapshot::MacAddr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Access, BridgePolicy, Glob, LinkLocalProtocol, Policy, PortPolicy, Waiver};
use crate::finding::{Role, Severity};

/// What is wrong with a policy file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// Line, from 1.
    pub line: usize,
    /// Column, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The nearest thing that would be right, if one is near.
    pub nearest: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        self.nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest:?}?"))
    }
}

type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a whole file.
pub(super) fn policy(text: &str) -> Result<Policy, PolicyError> {
    let source = Source(text);
    let document = DeTable::parse(text)
        .map_err(|error| source.error(error.span(), error.message().trim().to_owned()))?;
    let mut policy = Policy::default();
    let keys = ["fail-on", "bridge", "port", "waiver"];
    for (key, value) in source.entries(document.get_ref(), "the file", &keys)? {
        match key {
            "fail-on" => policy.fail_on = source.one_of(value, "a severity", &Severity::NAMES)?,
            "bridge" => policy.bridges = source.tables(value, key, bridge)?,
            "port" => policy.ports = source.tables(value, key, port)?,
            _ => policy.waivers = source.tables(value, key, waiver)?,
        }
    }
    Ok(policy)
}

fn bridge(source: Source<'_>, table: &Spanned<&DeTable<'_>>) -> Result<BridgePolicy, PolicyError> {
    let keys = ["name", "netns", "host-access", "guest-to-guest", "link-local", "promiscuous"];
    let mut policy = BridgePolicy::default();
    for (key, value) in source.entries(table.get_ref(), "[[bridge]]", &keys)? {
        match key {
            "name" => policy.name = source.glob(value)?,
            "netns" => policy.netns = source.glob(value)?,
            "host-access" => policy.host_access = Some(source.one_of(value, "an access", &Access::NAMES)?),
            "guest-to-guest" => {
                policy.guest_to_guest = Some(source.one_of(value, "an access", &Access::NAMES)?)
            }
            "link-local" => {
                let protocol =
                    |value: &Value<'_>| source.one_of(value, "a protocol", &LinkLocalProtocol::NAMES);
                policy.link_local = Some(source.list(value, protocol)?);
            }
            _ => {
                let name = |value: &Value<'_>| source.text(value).map(str::to_owned);
                policy.promiscuous = Some(source.list(value, name)?);
            }
        }
    }
    Ok(policy)
}

fn port(source: Source<'_>, table: &Spanned<&DeTable<'_>>) -> Result<PortPolicy, PolicyError> {
    let keys = ["name", "bridge", "netns", "role", "mac", "ip"];
    let (mut name, mut policy) = (None, PortPolicy::default());
    for (key, value) in source.entries(table.get_ref(), "[[port]]", &keys)? {
        match key {
            "name" => name = Some(source.glob(value)?),
            "bridge" => policy.bridge = source.glob(value)?,
            "netns" => policy.netns = source.glob(value)?,
            "role" => policy.role = Some(source.one_of(value, "a role", &Role::NAMES)?),
            "mac" => policy.mac = Some(source.list(value, |value| source.mac(value))?),
            _ => policy.ip = Some(source.list(value, |value| source.net(value))?),
        }
    }
    let name = name.ok_or_else(|| source.missing(table, "[[port]]", "name"))?;
    if policy.role.is_none() && policy.mac.is_none() && policy.ip.is_none() {
        let message = "this [[port]] says nothing: it has no \"role\", \"mac\" or \"ip\"".to_owned();
        return Err(source.error(Some(table.span()), message));
    }
    Ok(PortPolicy { name, ..policy })
}

fn waiver(source: Source<'_>, table: &Spanned<&DeTable<'_>>) -> Result<Waiver, PolicyError> {
    let keys = ["rule", "bridge", "port", "netns", "reason", "expires"];
    let (mut rule, mut reason, mut expires) = (None, None, None);
    let (mut bridge, mut port, mut netns) = (Glob::default(), Glob::default(), Glob::default());
    for (key, value) in source.entries(table.get_ref(), "[[waiver]]", &keys)? {
        match key {
            "rule" => {
                let rules: Vec<_> = crate::registry::ids().map(|id| (id.0, id)).collect();
                rule = Some(source.one_of(value, "a rule", &rules)?);
            }
            "bridge" => bridge = source.glob(value)?,
            "port" => port = source.glob(value)?,
            "netns" => netns = source.glob(value)?,
            "reason" => reason = Some(source.reason(value)?),
            _ => expires = Some(source.date(value)?),
        }
    }
    let missing = |key| source.missing(table, "[[waiver]]", key);
    Ok(Waiver {
        rule: rule.ok_or_else(|| missing("rule"))?,
        bridge,
        port,
        netns,
        reason: reason.ok_or_else(|| missing("reason"))?,
        expires: expires.ok_or_else(|| missing("expires"))?,
    })
}

/// The text of the file, for finding places in it.
#[derive(Clone, Copy)]
struct Source<'t>(&'t str);

impl Source<'_> {
    /// Returns an error at a place; without one, at the beginning.
    fn error(self, at: Option<Range<usize>>, message: String) -> PolicyError {
        let start = at.map_or(0, |span| span.start);
        let before = self.0.get(..start).unwrap_or(self.0);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        PolicyError { line, column, message, nearest: None }
    }

    /// Returns the entries of a table in the order of the file, after checking its keys.
    fn entries<'d, 't>(
        self,
        table: &'d DeTable<'t>,
        of: &str,
        keys: &[&'static str],
    ) -> Result<Vec<(&'static str, &'d Value<'t>)>, PolicyError> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let Some(known) = keys.iter().find(|known| **known == name) else {
                let message = format!("{of} has no key {name:?}; it has {}", keys.join(", "));
                let nearest = nearest(name, keys.iter().copied());
                return Err(PolicyError { nearest, ..self.error(Some(key.span()), message) });
            };
            entries.push((key.span().start, *known, value));
        }
        entries.sort_by_key(|(start, ..)| *start);
        Ok(entries.into_iter().map(|(_, key, value)| (key, value)).collect())
    }

    /// Reads an array of tables.
    fn tables<T>(
        self,
        value: &Value<'_>,
        key: &str,
        read: impl Fn(Self, &Spanned<&DeTable<'_>>) -> Result<T, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        let wrong = |at: &Value<'_>| {
            let message = format!("{key:?} is a list of tables: write [[{key}]]");
            self.error(Some(at.span()), message)
        };
        let tables = value.get_ref().as_array().ok_or_else(|| wrong(value))?;
        let table = |value: &Value<'_>| {
            let table = value.get_ref().as_table().ok_or_else(|| wrong(value))?;
            read(self, &Spanned::new(value.span(), table))
        };
        tables.iter().map(table).collect()
    }

    /// Reads an array.
    fn list<T>(
        self,
        value: &Value<'_>,
        read: impl Fn(&Value<'_>) -> Result<T, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong_type(value, "a list"));
        };
        items.iter().map(read).collect()
    }

    fn text<'d>(self, value: &'d Value<'_>) -> Result<&'d str, PolicyError> {
        value.get_ref().as_str().ok_or_else(|| self.wrong_type(value, "a text in quotes"))
    }

    fn glob(self, value: &Value<'_>) -> Result<Glob, PolicyError> {
        self.text(value).map(Glob::new)
    }

    /// Reads one of a set of names.
    fn one_of<T: Copy>(self, value: &Value<'_>, what: &str, of: &[(&str, T)]) -> Result<T, PolicyError> {
        let text = self.text(value)?;
        if let Some((_, found)) = of.iter().find(|(name, _)| *name == text) {
            return Ok(*found);
        }
        let message = if of.len() <= 6 {
            let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not {what}; one of {} is", names.join(", "))
        } else {
            format!("{text:?} is not {what}")
        };
        let nearest = nearest(text, of.iter().map(|(name, _)| *name));
        Err(PolicyError { nearest, ..self.error(Some(value.span()), message) })
    }

    /// Reads an address that a guest can send from.
    fn mac(self, value: &Value<'_>) -> Result<MacAddr, PolicyError> {
        let text = self.text(value)?;
        let address = text.parse::<MacAddr>().ok().filter(|address| !address.is_multicast());
        address.ok_or_else(|| {
            let message =
                format!("{text:?} is not the MAC address of a guest; write it as 52:54:00:12:34:56");
            self.error(Some(value.span()), message)
        })
    }

    /// Reads an address, or a network of them.
    fn net(self, value: &Value<'_>) -> Result<IpNet, PolicyError> {
        let text = self.text(value)?;
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| one()).map_err(|_| {
            let message =
                format!("{text:?} is not an IP address or network; write it as 192.0.2.10 or 2001:db8::/64");
            self.error(Some(value.span()), message)
        })
    }

    fn reason(self, value: &Value<'_>) -> Result<String, PolicyError> {
        let text = self.text(value)?;
        if text.trim().is_empty() {
            return Err(self.error(Some(value.span()), "a waiver needs a reason in words".to_owned()));
        }
        Ok(text.to_owned())
    }

    /// Reads a date, with or without quotes.
    fn date(self, value: &Value<'_>) -> Result<Date, PolicyError> {
        let text = match value.get_ref() {
            DeValue::Datetime(date) => Cow::Owned(date.to_string()),
            other => Cow::Borrowed(other.as_str().ok_or_else(|| self.wrong_type(value, "a date"))?),
        };
        // A time of day would be read past silently.
        let date = if text.len() == 10 { text.parse::<Date>().ok() } else { None };
        let wrong =
            || self.error(Some(value.span()), format!("{text:?} is not a date; write it as 2027-01-31"));
        date.ok_or_else(wrong)
    }

    fn wrong_type(self, value: &Value<'_>, wanted: &str) -> PolicyError {
        let found = value.get_ref().type_str();
        self.error(Some(value.span()), format!("{wanted} is wanted here, not a value of type {found}"))
    }

    fn missing(self, table: &Spanned<&DeTable<'_>>, name: &str, key: &str) -> PolicyError {
        self.error(Some(table.span()), format!("this {name} has no {key:?}"))
    }
}

/// Returns the candidate that is most like a text, if one is like it at all.
fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    let text = text.to_lowercase();
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(&text, candidate), candidate));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        policy(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(policy("").unwrap(), Policy::default());
        assert_eq!(policy("# nothing\n").unwrap(), Policy::default());
    }

    #[test]
    fn the_documented_example_is_read() {
        let text = include_str!("../../../../docs/policy.md");
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let policy = policy(example).unwrap();
        assert_eq!(policy.fail_on, Severity::High);
        assert_eq!(policy.bridge("net:[1]", "br0").host_access, Some(Access::Deny));
        assert_eq!(policy.port("net:[1]", "br0", ["fwpr101p0"].into_iter()).role, Some(Role::Guest));
        assert_eq!(policy.waivers.len(), 2);
    }

    #[test]
    fn a_typo_is_shown_with_its_place_and_the_nearest_key() {
        insta::assert_snapshot!(error("[[bridge]]\nname = \"br0\"\n  host-acess = \"deny\"\n"), @r#"line 3, column 3: [[bridge]] has no key "host-acess"; it has name, netns, host-access, guest-to-guest, link-local, promiscuous; did you mean "host-access"?"#);
        insta::assert_snapshot!(error("fail_on = \"low\""), @r#"line 1, column 1: the file has no key "fail_on"; it has fail-on, bridge, port, waiver; did you mean "fail-on"?"#);
    }

    #[test]
    fn values_are_checked_too() {
        insta::assert_snapshot!(error("fail-on = \"hihg\""), @r#"line 1, column 11: "hihg" is not a severity; one of critical, high, medium, low, info is; did you mean "high"?"#);
        insta::assert_snapshot!(error("fail-on = 3"), @"line 1, column 11: a text in quotes is wanted here, not a value of type integer");
        insta::assert_snapshot!(error("[[port]]\nname = \"a\"\nrole = \"gest\""), @r#"line 3, column 8: "gest" is not a role; one of guest, uplink, host, foreign is; did you mean "guest"?"#);
        insta::assert_snapshot!(error("[[port]]\nname = \"a\""), @r#"line 1, column 1: this [[port]] says nothing: it has no "role", "mac" or "ip""#);
        insta::assert_snapshot!(error("[[port]]\nname = \"a\"\nmac = [\"01:00:5e:00:00:01\"]"), @r#"line 3, column 8: "01:00:5e:00:00:01" is not the MAC address of a guest; write it as 52:54:00:12:34:56"#);
        insta::assert_snapshot!(error("[[port]]\nname = \"a\"\nip = [\"192.0.2.10\", \"192.0.2.300\"]"), @r#"line 3, column 21: "192.0.2.300" is not an IP address or network; write it as 192.0.2.10 or 2001:db8::/64"#);
        insta::assert_snapshot!(error("bridge = 1"), @r#"line 1, column 10: "bridge" is a list of tables: write [[bridge]]"#);
        insta::assert_snapshot!(error("[bridge]\nname = 1"), @r#"line 1, column 1: "bridge" is a list of tables: write [[bridge]]"#);
        insta::assert_snapshot!(error("[[bridge]]\nlink-local = [\"ldp\"]"), @r#"line 2, column 15: "ldp" is not a protocol; one of eapol, lacp, lldp, stp is; did you mean "lldp"?"#);
    }

    #[test]
    fn a_waiver_needs_a_known_rule_a_reason_and_a_date() {
        let waiver = |rule: &str, reason: &str, expires: &str| {
            format!("[[waiver]]\nrule = {rule}\nreason = {reason}\nexpires = {expires}\n")
        };
        let good = policy(&waiver("\"host-arp\"", "\"lab\"", "2027-01-31")).unwrap();
        assert_eq!(good.waivers[0].expires, jiff::civil::date(2027, 1, 31));
        assert!(policy(&waiver("\"host-arp\"", "\"lab\"", "\"2027-01-31\"")).is_ok());
        insta::assert_snapshot!(error(&waiver("\"host-apr\"", "\"lab\"", "2027-01-31")), @r#"line 2, column 8: "host-apr" is not a rule; did you mean "host-arp"?"#);
        insta::assert_snapshot!(error(&waiver("\"host-arp\"", "\" \"", "2027-01-31")), @"line 3, column 10: a waiver needs a reason in words");
        insta::assert_snapshot!(error(&waiver("\"host-arp\"", "\"lab\"", "\"soon\"")), @r#"line 4, column 11: "soon" is not a date; write it as 2027-01-31"#);
        insta::assert_snapshot!(error(&waiver("\"host-arp\"", "\"lab\"", "2027-01-31T10:00:00")), @r#"line 4, column 11: "2027-01-31T10:00:00" is not a date; write it as 2027-01-31"#);
        insta::assert_snapshot!(error(&waiver("\"host-arp\"", "\"lab\"", "\"2027-02-31\"")), @r#"line 4, column 11: "2027-02-31" is not a date; write it as 2027-01-31"#);
        insta::assert_snapshot!(error("[[waiver]]\nrule = \"host-arp\"\nexpires = 2027-01-31"), @r#"line 1, column 1: this [[waiver]] has no "reason""#);
    }

    #[test]
    fn broken_toml_is_shown_with_its_place() {
        let error = policy("[[bridge]]\nname = br0\n").unwrap_err();
        assert_eq!(error.line, 2, "{error}");
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(policy("# ä\n\"ä\" = 1").unwrap_err().column, 1);
        assert_eq!(policy("bridge = [{ name = \"ää\", nam = 1 }]").unwrap_err().column, 26);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,120}") {
            let _ = policy(&text);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0..4000usize, with in "\\PC{0,3}") {
            let text = include_str!("../../../../docs/policy.md");
            let example = text.split("```toml\n").nth(1).unwrap();
            let mut damaged: String = example.chars().take(at).collect();
            damaged.push_str(&with);
            damaged.extend(example.chars().skip(at + 1));
            let _ = policy(&damaged);
        }
    }
}
