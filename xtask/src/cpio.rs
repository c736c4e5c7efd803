//! Writes an initramfs archive: cpio in its `newc` form (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//! Pure: the archive is built in memory. Reading archives does not live here.

use std::collections::BTreeSet;
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows. Parent directories are added by themselves; everything belongs to root.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds an executable file with these contents. A path that is in the archive already is left as it is.
    pub fn file(&mut self, path: &Path, contents: &[u8]) {
        self.add(path, EXECUTABLE, contents);
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, path: &Path, target: &str) {
        self.add(path, LINK, target.as_bytes());
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &Path) {
        self.add(path, DIRECTORY, &[]);
    }

    /// Ends the archive and returns its bytes, a multiple of 4 long, so that another archive may follow.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add(&mut self, path: &Path, mode: u32, contents: &[u8]) {
        let parts: Vec<String> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        for depth in 1..parts.len() {
            let parent = parts.iter().take(depth).map(String::as_str).collect::<Vec<_>>().join("/");
            if self.names.insert(parent.clone()) {
                self.entry(&parent, DIRECTORY, &[]);
            }
        }
        let name = parts.join("/");
        if !name.is_empty() && self.names.insert(name.clone()) {
            self.entry(&name, mode, contents);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        let inode = self.names.len();
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // Magic, then: inode, mode, owner, group, links, time, size, device and special device, name size, checksum.
        self.bytes.extend_from_slice(
            format!(
                "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
                0,
                0,
                0,
                contents.len(),
                0,
                0,
                0,
                0,
                name.len() + 1,
                0
            )
            .as_bytes(),
        );
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_parents_come_first() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/init"), b"hello");
        archive.file(Path::new("a/b/init"), b"again");
        archive.link(Path::new("a/l"), "/a/b/init");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let header = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
            let field = |n: usize| usize::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
            assert!(header.starts_with("070701"));
            let (size, name_size) = (field(6), field(11));
            names.push(String::from_utf8_lossy(&bytes[at + 110..at + 109 + name_size]).into_owned());
            at = (at + 110 + name_size).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        assert_eq!(names, ["a", "a/b", "a/b/init", "a/l", "TRAILER!!!"]);
    }
}
