//! Debian's names: which suites carry which kernels, which packages make one up, and what apt's answers mean. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The kernels of the lab, oldest first. A version stands for its newest packaged release: `7` is the newest 7.x.
pub const LAB: &[&str] = &["5.10", "6.1", "6.12", "7"];

const PREFIXES: [&str; 2] = ["linux-binary-", "linux-image-"];
const FLAVOUR: &str = "-cloud-amd64";

/// A place that apt was configured to read: `deb BASE SUITE …`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The address of the archive.
    pub base: String,
    /// The suite, for example `bookworm-security`.
    pub suite: String,
}

/// A set of suites that are read together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Release {
    /// The release's code name.
    pub name: &'static str,
    /// Suites of the main archive besides the release itself.
    pub more: &'static [&'static str],
    /// Whether the security archive carries it.
    pub security: bool,
}

const BULLSEYE: Release = Release { name: "bullseye", more: &[], security: true };
const BOOKWORM: Release = Release { name: "bookworm", more: &[], security: true };
const TRIXIE: Release = Release { name: "trixie", more: &["trixie-backports"], security: true };
const SID: Release = Release { name: "sid", more: &[], security: false };

/// Returns the releases that may carry `version`, the likeliest first.
#[must_use]
pub fn releases_for(version: &str) -> &'static [Release] {
    match version {
        "5.10" => &[BULLSEYE],
        "6.1" => &[BOOKWORM],
        "6.12" => &[BOOKWORM, TRIXIE],
        _ if version.starts_with('7') => &[TRIXIE, SID],
        _ => &[TRIXIE, BOOKWORM, SID, BULLSEYE],
    }
}

/// Reads what `apt-get update --print-uris` said into the sources that apt is configured with.
#[must_use]
pub fn sources_from_uris(text: &str) -> Vec<Source> {
    let source = |line: &str| {
        let uri = line.strip_prefix('\'')?.split('\'').next()?;
        let (base, rest) = uri.rsplit_once("/dists/")?;
        let suite = rest.strip_suffix("/InRelease")?;
        Some(Source { base: base.to_owned(), suite: suite.to_owned() })
    };
    text.lines().filter_map(source).collect()
}

/// Writes a sources list for `release`, from the archives that the machine reads its own release `codename` from.
/// `None` if the machine is not configured with such an archive.
#[must_use]
pub fn sources_list(
    release: Release,
    codename: &str,
    configured: &[Source],
    keyring: Option<&str>,
) -> Option<String> {
    let base_of =
        |suite: &str| configured.iter().find(|source| source.suite == suite).map(|source| &source.base);
    let options = keyring.map(|path| format!("[signed-by={path}] ")).unwrap_or_default();
    let main = base_of(codename)?;
    let mut list: String = std::iter::once(&release.name)
        .chain(release.more)
        .map(|suite| format!("deb {options}{main} {suite} main\n"))
        .collect();
    if let Some(security) = base_of(&format!("{codename}-security")).filter(|_| release.security) {
        list.push_str(&format!("deb {options}{security} {}-security main\n", release.name));
    }
    Some(list)
}

/// A kernel as it is packaged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelPackages {
    /// The release that `uname -r` will say, for example `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// The packages to unpack.
    pub packages: Vec<String>,
}

/// Picks the newest kernel of `version` from the names of all packages.
///
/// Up to 7.1 a kernel is one package, `linux-image-R`. Later `linux-image-R` only names three others: `linux-base-R`,
/// `linux-binary-R` and `linux-modules-R`.
#[must_use]
pub fn newest_kernel(version: &str, names: &str) -> Option<KernelPackages> {
    let names: BTreeSet<&str> = names.lines().map(str::trim).collect();
    let releases = names.iter().filter_map(|name| {
        let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        // A name without a patch level, such as linux-image-6.12-cloud-amd64, points at others and holds nothing.
        let after = rest.strip_suffix(FLAVOUR)?.strip_prefix(version)?;
        (after.starts_with('.') && rest.split('-').next()?.split('.').count() >= 3).then_some(rest)
    });
    let release = releases.max_by(|left, right| compare(left, right))?;
    let present = |prefix: &str| {
        let name = format!("{prefix}{release}");
        names.contains(name.as_str()).then_some(name)
    };
    let split: Option<Vec<String>> =
        ["linux-base-", "linux-binary-", "linux-modules-"].into_iter().map(present).collect();
    let packages = split.or_else(|| present("linux-image-").map(|name| vec![name]))?;
    Some(KernelPackages { release: release.to_owned(), packages })
}

/// Reads the packages that `apt-get -s install` would install.
#[must_use]
pub fn packages_to_install(simulation: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned);
    simulation.lines().filter_map(name).collect()
}

/// Reads one value of os-release(5), without its quotes.
#[must_use]
pub fn os_release_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

/// Compares two releases number by number, so that 6.1.0-9 comes before 6.1.0-56.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let text = text.strip_suffix(FLAVOUR).unwrap_or(text);
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty());
        digits.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
    };
    numbers(left).cmp(&numbers(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
        linux-image-6.1.0-57-cloud-amd64-unsigned\nlinux-image-6.1.0-58-amd64\nlinux-image-cloud-amd64\n\
        linux-image-6.12-cloud-amd64\nlinux-image-6.12.94+deb13-cloud-amd64\nlinux-image-6.12.115+deb13-cloud-amd64\n\
        linux-image-6.12.115+deb13.1-cloud-amd64\nlinux-image-6.12.115+deb13.1-cloud-amd64-dbg\n\
        linux-image-7.0.13+deb13-cloud-amd64\nlinux-binary-7.0.13+deb13-cloud-amd64\n\
        linux-image-7.3.4+deb13-cloud-amd64\nlinux-binary-7.3.4+deb13-cloud-amd64\n\
        linux-binary-unsigned-7.3.4+deb13-cloud-amd64\nlinux-modules-7.3.4+deb13-cloud-amd64\n\
        linux-base-7.3.4+deb13-cloud-amd64\nlinux-modules-cloud-amd64\n";

    #[test]
    fn the_newest_release_is_picked_by_number() {
        let pick = |version| newest_kernel(version, NAMES);
        assert_eq!(pick("6.1").unwrap().release, "6.1.0-56-cloud-amd64");
        assert_eq!(pick("6.1").unwrap().packages, ["linux-image-6.1.0-56-cloud-amd64"]);
        assert_eq!(pick("6.12").unwrap().release, "6.12.115+deb13.1-cloud-amd64");
        assert_eq!(pick("5.10"), None);
        assert_eq!(pick("6"), pick("6.12"));
    }

    #[test]
    fn both_package_layouts_are_known() {
        let newest = newest_kernel("7", NAMES).unwrap();
        assert_eq!(newest.release, "7.3.4+deb13-cloud-amd64");
        let expected =
            ["base", "binary", "modules"].map(|part| format!("linux-{part}-7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest.packages, expected);
        assert_eq!(newest_kernel("7.0", NAMES).unwrap().packages, ["linux-image-7.0.13+deb13-cloud-amd64"]);
    }

    #[test]
    fn the_sources_follow_the_machine() {
        let said = "'http://mirror.test/debian/dists/bookworm/InRelease' mirror_InRelease 0 \n\
            'http://mirror.test/sec/dists/bookworm-security/InRelease' sec_InRelease 0 \nReading…\n\
            'http://else.test/dists/./InRelease' x 0 \n";
        let configured = sources_from_uris(said);
        assert_eq!(configured.len(), 3);
        assert_eq!(
            sources_list(TRIXIE, "bookworm", &configured, Some("/k.gpg")).unwrap(),
            "deb [signed-by=/k.gpg] http://mirror.test/debian trixie main\n\
             deb [signed-by=/k.gpg] http://mirror.test/debian trixie-backports main\n\
             deb [signed-by=/k.gpg] http://mirror.test/sec trixie-security main\n"
        );
        assert_eq!(
            sources_list(SID, "bookworm", &configured, None).unwrap(),
            "deb http://mirror.test/debian sid main\n"
        );
        assert_eq!(sources_list(SID, "noble", &configured, None), None);
    }

    #[test]
    fn apt_and_os_release_are_read() {
        let simulation =
            "NOTE: only a simulation\nRemv a [1]\nInst libx (1 Debian [amd64])\nInst qemu (2)\nConf libx (1)";
        assert_eq!(packages_to_install(simulation), ["libx", "qemu"]);
        let text = "ID=debian\nVERSION_CODENAME=\"bookworm\"\nVERSION_ID=12";
        assert_eq!(os_release_value(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(os_release_value(text, "VERSION"), None);
    }
}
