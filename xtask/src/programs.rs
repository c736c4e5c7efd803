//! Programs of the machine that tests may start inside a guest: the ordinary tools for bridges and filters, with their
//! libraries. A test that needs one that is missing says so and is counted as skipped; nothing here insists.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::process::text_of;
use crate::qemu::Tools;

/// The programs, by the names under which tests call them.
pub const PROGRAMS: &[&str] = &[
    "arptables-legacy",
    "arptables-nft",
    "bridge",
    "ebtables-legacy",
    "ebtables-legacy-restore",
    "ebtables-nft",
    "ebtables-nft-restore",
    "ip",
    "ip6tables-legacy",
    "ip6tables-nft",
    "ipset",
    "iptables-legacy",
    "iptables-legacy-restore",
    "iptables-nft",
    "iptables-nft-restore",
    "nft",
    "sh",
    "sysctl",
    "tc",
];

/// Files and directories those programs read.
const DATA: &[&str] = &[
    "/etc/ethertypes",
    "/etc/protocols",
    "/usr/lib/ebtables",
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib/tc",
];

/// Adds to `archive` whatever of the programs is here.
pub fn add(archive: &mut Archive, tools: &Tools) {
    for name in PROGRAMS {
        let Some((program, libraries)) =
            tools.find(name).and_then(|path| Some((path.clone(), libraries(tools, &path)?)))
        else {
            continue;
        };
        // Many of them are one program that goes by its name; a file for each name is simpler than links, and small.
        let directory = if *name == "sh" { "/bin" } else { "/usr/sbin" };
        copy(archive, &program, &Path::new(directory).join(name));
        for library in libraries {
            copy(archive, &library, &tools.installed_path(&library));
        }
    }
    for path in DATA.iter().flat_map(|path| tools.data(path)) {
        let target = tools.installed_path(&path);
        copy(archive, &path, &target);
    }
}

/// Copies a file, or a directory of files. What cannot be read is missing inside, as if it were missing here.
fn copy(archive: &mut Archive, source: &Path, target: &Path) {
    if let Ok(entries) = fs::read_dir(source) {
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            copy(archive, &path, &target.join(path.file_name().unwrap_or_default()));
        }
    } else if let Ok(bytes) = fs::read(source) {
        archive.file(target, &bytes);
    }
}

/// Asks ldd(1) what `program` is linked with; `None` if a library is missing.
fn libraries(tools: &Tools, program: &Path) -> Option<Vec<PathBuf>> {
    let mut command = tools.command("ldd");
    tools.with_libraries(&mut command);
    parse_libraries(&text_of(command.arg(program)).ok()?)
}

fn parse_libraries(said: &str) -> Option<Vec<PathBuf>> {
    if said.contains("not found") {
        return None;
    }
    let path = |word: &str| word.starts_with('/').then(|| PathBuf::from(word));
    Some(said.lines().filter_map(|line| line.split_whitespace().find_map(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse_libraries(said).unwrap(), ["/lib/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from));
        assert_eq!(parse_libraries("\tlibx.so => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n"), None);
    }
}
