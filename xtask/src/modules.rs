//! Which modules go into a guest, and how the guest finds them again: the index that takes the place of `modules.dep`
//! and `modules.alias`. Pure; shared by `xtask`, which writes the index, and `guest-init`, which answers the kernel from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::modinfo::ModuleInfo;

/// Where the index lies inside the guest.
pub const INDEX_PATH: &str = "/lib/modules/index";

/// The path of a module that is part of the kernel: a request for it holds, and there is nothing to load.
pub const BUILT_IN: &str = "-";

/// Directories and modules, below `kernel/` of a module tree, that the tests may ask for. What they depend on comes by itself.
const WANTED: &[&str] = &[
    "crypto/crc32c",
    "drivers/net/bonding/",
    "drivers/net/dummy.",
    "drivers/net/geneve.",
    "drivers/net/ifb.",
    "drivers/net/ipvlan/",
    "drivers/net/macsec.",
    "drivers/net/macvlan.",
    "drivers/net/macvtap.",
    "drivers/net/netkit.",
    "drivers/net/nlmon.",
    "drivers/net/tap.",
    "drivers/net/team/",
    "drivers/net/tun.",
    "drivers/net/veth.",
    "drivers/net/vrf.",
    "drivers/net/vxlan",
    "net/802",
    "net/bridge/",
    "net/ipv4/",
    "net/ipv6/",
    "net/llc/",
    "net/netfilter/",
    "net/netlink/",
    "net/openvswitch/",
    "net/packet/",
    "net/sched/",
    "net/unix/",
];

/// Parts of the wanted directories that no test of bridges asks for.
const UNWANTED: &[&str] = &["net/netfilter/ipvs/", "net/ipv4/tcp_", "net/sched/sch_"];

/// Modules wanted although [`UNWANTED`] names their group.
const STILL_WANTED: &[&str] = &["net/ipv4/tcp_diag.", "net/sched/sch_ingress."];

/// Tells whether the module at `path`, below `kernel/`, belongs into the guest for its own sake.
#[must_use]
pub fn is_wanted(path: &str) -> bool {
    let among = |list: &[&str]| list.iter().any(|start| path.starts_with(start));
    among(STILL_WANTED) || (among(WANTED) && !among(UNWANTED))
}

/// One module of a guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Module {
    /// Path inside the guest, or [`BUILT_IN`].
    pub path: String,
    /// What the module says about itself.
    pub info: ModuleInfo,
}

/// The modules of a guest by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Index {
    modules: BTreeMap<String, Module>,
}

impl Index {
    /// Adds a module. Dashes and underscores in names are the same to the kernel.
    pub fn insert(&mut self, name: &str, module: Module) {
        self.modules.insert(canonical(name), module);
    }

    /// Reads an index as [`Index::to_text`] wrote it; lines that say nothing are passed over.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut index = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("module"), Some(name), Some(path)) => {
                    let info = ModuleInfo { needs: words.map(str::to_owned).collect(), aliases: Vec::new() };
                    index.insert(name, Module { path: path.to_owned(), info });
                }
                (Some("alias"), Some(name), Some(alias)) => {
                    if let Some(module) = index.modules.get_mut(name) {
                        module.info.aliases.push(alias.to_owned());
                    }
                }
                _ => {}
            }
        }
        index
    }

    /// Writes the index as text: a line for each module with what it needs, then one for each alias.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            let _ = write!(text, "module {name} {}", module.path);
            for needed in &module.info.needs {
                let _ = write!(text, " {needed}");
            }
            text.push('\n');
            for alias in module.info.aliases.iter().filter(|alias| !alias.contains(char::is_whitespace)) {
                let _ = writeln!(text, "alias {name} {alias}");
            }
        }
        text
    }

    /// Returns the paths to load, in order, for a name or alias as the kernel asks for it; [`BUILT_IN`] is among them where
    /// there is nothing to load. Empty if nothing answers to it.
    #[must_use]
    pub fn resolve(&self, request: &str) -> Vec<&str> {
        let request = canonical(request);
        let named = self.modules.contains_key(&request).then(|| request.clone());
        let aliased = || {
            self.modules.iter().filter(|(_, module)| {
                module
                    .info
                    .aliases
                    .iter()
                    .any(|alias| matches(canonical(alias).as_bytes(), request.as_bytes()))
            })
        };
        let names =
            named.map_or_else(|| aliased().map(|(name, _)| name.clone()).collect(), |name| vec![name]);
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in &names {
            self.visit(name, &mut seen, &mut order);
        }
        order
            .into_iter()
            .map(|name| self.modules.get(&name).map_or("", |module| module.path.as_str()))
            .collect()
    }

    /// Returns the names of `roots` and of everything they need that is in the index.
    #[must_use]
    pub fn closure<'a>(&self, roots: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for root in roots {
            self.visit(root, &mut seen, &mut order);
        }
        order.into_iter().collect()
    }

    /// Returns the part of the index that holds `names` only.
    #[must_use]
    pub fn restricted_to(&self, names: &BTreeSet<String>) -> Self {
        let kept = self.modules.iter().filter(|(name, _)| names.contains(*name));
        Self { modules: kept.map(|(name, module)| (name.clone(), module.clone())).collect() }
    }

    /// Depth first, so that each module comes after what it needs. `seen` ends circles.
    fn visit(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        let name = canonical(name);
        let Some(module) = self.modules.get(&name) else { return };
        if !seen.insert(name.clone()) {
            return;
        }
        for needed in &module.info.needs {
            self.visit(needed, seen, order);
        }
        order.push(name);
    }
}

/// Writes a module's name the way the kernel does, with underscores for dashes.
#[must_use]
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Matches `text` against a pattern with `*` and `?`, as aliases of network modules use them.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=text.len()).any(|skipped| matches(rest, text.get(skipped..).unwrap_or(&[])))
        }
        (Some((wanted, rest)), Some((byte, left))) => {
            (*wanted == b'?' || wanted == byte) && matches(rest, left)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (name, needs, aliases) in [
            ("bridge", &["stp", "llc"][..], &["rtnl-link-bridge"][..]),
            ("stp", &["llc"], &[]),
            ("llc", &["stp"], &[]),
            ("8021q", &["garp-x"], &["rtnl-link-vlan"]),
            ("inet_diag", &[], &["net-pf-16-proto-4-type-2"]),
            ("mlx", &[], &["pci:v000015B3d*sv?"]),
        ] {
            let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let info = ModuleInfo { needs: own(needs), aliases: own(aliases) };
            index.insert(name, Module { path: format!("/m/{name}.ko"), info });
        }
        index
    }

    #[test]
    fn requests_are_answered_in_loading_order() {
        let index = Index::from_text(&index().to_text());
        assert_eq!(index.resolve("bridge"), ["/m/llc.ko", "/m/stp.ko", "/m/bridge.ko"]);
        assert_eq!(index.resolve("rtnl-link-vlan"), ["/m/8021q.ko"]);
        assert_eq!(index.resolve("net-pf-16-proto-4-type-2"), ["/m/inet_diag.ko"]);
        assert_eq!(index.resolve("pci:v000015B3d0001sv2"), ["/m/mlx.ko"]);
        assert!(index.resolve("net-pf-16-proto-4-type-21").is_empty());
    }

    #[test]
    fn the_index_survives_being_written() {
        let once = Index::from_text(&index().to_text());
        assert_eq!(once, index());
    }

    #[test]
    fn the_selection_is_about_bridges() {
        assert!(is_wanted("net/bridge/netfilter/ebtables.ko"));
        assert!(is_wanted("net/sched/sch_ingress.ko.xz") && is_wanted("net/sched/act_gact.ko"));
        assert!(is_wanted("net/ipv4/tcp_diag.ko") && is_wanted("drivers/net/vxlan/vxlan.ko"));
        assert!(!is_wanted("net/ipv4/tcp_vegas.ko") && !is_wanted("drivers/net/ethernet/intel/e1000.ko"));
    }

    #[test]
    fn the_closure_holds_what_is_needed() {
        let names: Vec<String> = index().closure(["bridge", "absent"]).into_iter().collect();
        assert_eq!(names, ["bridge", "llc", "stp"]);
    }
}
