//! The stack's own counters (`/proc/net/snmp`, `/proc/net/snmp6`): evidence of what it took in, which cannot lie.

use std::collections::BTreeMap;

use crate::Error;

/// The counters of a namespace, by name: `Icmp.InEchos`, `Ip6InReceives`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the counters of the calling thread's namespace.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn read() -> Result<Self, Error> {
        let file = |name: &str| {
            let path = format!("/proc/thread-self/net/{name}");
            std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))
        };
        let mut counters = Self::parse(&file("snmp")?, "");
        // No such file where the kernel runs no IPv6.
        counters.0.extend(Self::parse("", &file("snmp6").unwrap_or_default()).0);
        Ok(counters)
    }

    /// `snmp` has a line of names and a line of numbers for each protocol, `snmp6` a name and a number in each line.
    fn parse(snmp: &str, snmp6: &str) -> Self {
        let mut counters = BTreeMap::new();
        let lines: Vec<_> = snmp.lines().collect();
        for pair in lines.chunks(2) {
            let [names, numbers] = pair else { continue };
            let protocol = names.split(':').next().unwrap_or_default();
            let names = names.split_whitespace().skip(1);
            for (name, number) in names.zip(numbers.split_whitespace().skip(1)) {
                counters.insert(format!("{protocol}.{name}"), number.parse().unwrap_or(0));
            }
        }
        for line in snmp6.lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(number)) = (words.next(), words.next()) {
                counters.insert(name.to_owned(), number.parse().unwrap_or(0));
            }
        }
        Self(counters)
    }

    /// Returns how much a counter has grown since; 0 if there is none of that name.
    #[must_use]
    pub fn since(&self, before: &Self, name: &str) -> u64 {
        let value = |counters: &Self| counters.0.get(name).copied().unwrap_or(0);
        value(self).saturating_sub(value(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let counters = Counters::parse("Ip: Forwarding InReceives\nIp: 1 7\n", "Ip6InReceives   \t9\n");
        assert_eq!(counters.since(&Counters::default(), "Ip.InReceives"), 7);
        assert_eq!(counters.since(&Counters::default(), "Ip6InReceives"), 9);
        assert_eq!(counters.since(&counters, "Ip6InReceives"), 0);
    }
}
