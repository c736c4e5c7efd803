//! Reads what a kernel module says about itself: the `.modinfo` section of its ELF file. Pure.
//!
//! This is the part of depmod that the lab needs. Debian's kernel packages come without `modules.dep`.

use std::collections::BTreeMap;

/// The facts of one module's `.modinfo` that loading it needs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ModuleInfo {
    /// Modules whose symbols it uses, and those it asks for first (`softdep=pre:`).
    pub needs: Vec<String>,
    /// Names by which the kernel asks for it (`request_module`); may hold `*` and `?`.
    pub aliases: Vec<String>,
}

/// Reads the `.modinfo` of a plain (not compressed) 64-bit little-endian module; `None` if it is none.
#[must_use]
pub fn read(module: &[u8]) -> Option<ModuleInfo> {
    let mut info = ModuleInfo::default();
    for entry in section(module, b".modinfo")?.split(|&byte| byte == 0) {
        let Some((key, value)) = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once('='))
        else {
            continue;
        };
        match key {
            "alias" => info.aliases.push(value.to_owned()),
            "depends" => {
                info.needs.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned))
            }
            "softdep" => {
                let words = value.split_whitespace();
                let before =
                    words.skip_while(|word| *word != "pre:").skip(1).take_while(|word| *word != "post:");
                info.needs.extend(before.map(str::to_owned));
            }
            _ => {}
        }
    }
    Some(info)
}

/// Reads a tree's `modules.builtin.modinfo`: the paths, below `kernel/`, and facts of all modules that are built in.
///
/// Its entries are those of `.modinfo`, each led by the module's name and a dot.
#[must_use]
pub fn read_builtin(list: &[u8]) -> Vec<(String, ModuleInfo)> {
    let mut found: BTreeMap<&str, (String, ModuleInfo)> = BTreeMap::new();
    for entry in list.split(|&byte| byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok()) {
        let Some((name, (key, value))) =
            entry.split_once('.').and_then(|(name, rest)| Some((name, rest.split_once('=')?)))
        else {
            continue;
        };
        let (path, info) = found.entry(name).or_default();
        match key {
            "file" => *path = format!("{value}.ko"),
            "alias" => info.aliases.push(value.to_owned()),
            _ => {}
        }
    }
    found.into_values().filter(|(path, _)| !path.is_empty()).collect()
}

/// Returns the contents of the named section. Offsets are those of `Elf64_Ehdr` and `Elf64_Shdr` in `<elf.h>`.
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    // ELF magic, 64 bits, little-endian.
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(elf, 0x28, 8)?;
    let (size, count, names) = (number(elf, 0x3a, 2)?, number(elf, 0x3c, 2)?, number(elf, 0x3e, 2)?);
    let header = |index: usize| elf.get(table.checked_add(index.checked_mul(size)?)?..);
    let body = |header: &[u8]| {
        let (offset, length) = (number(header, 0x18, 8)?, number(header, 0x20, 8)?);
        elf.get(offset..offset.checked_add(length)?)
    };
    let strings = body(header(names)?)?;
    (0..count).filter_map(header).find_map(|header| {
        let name = strings.get(number(header, 0, 4)?..)?;
        (name.strip_prefix(wanted)?.first() == Some(&0)).then(|| body(header)).flatten()
    })
}

/// Reads a little-endian number of `width` bytes, at most 8.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    let value = field.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn module(modinfo: &[u8]) -> Vec<u8> {
        let strings = b"\0.modinfo.not\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let modinfo_at = elf.len();
        elf.extend_from_slice(modinfo);
        let strings_at = elf.len();
        elf.extend_from_slice(strings);
        let table = elf.len() as u64;
        for (name, at, length) in
            [(0, 0, 0), (1, 0, 4), (14, modinfo_at, modinfo.len()), (23, strings_at, strings.len())]
        {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&(name as u32).to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&4_u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&3_u16.to_le_bytes());
        elf
    }

    #[test]
    fn dependencies_and_aliases_are_read() {
        let elf =
            module(b"license=GPL\0depends=stp,llc\0alias=rtnl-link-bridge\0softdep=pre: crc32c post: x\0");
        let info = read(&elf).unwrap();
        assert_eq!(info.needs, ["stp", "llc", "crc32c"]);
        assert_eq!(info.aliases, ["rtnl-link-bridge"]);
        assert_eq!(read(&module(b"depends=\0")), Some(ModuleInfo::default()));
        assert_eq!(read(b"\x1f\x8b"), None);
    }

    #[test]
    fn built_in_modules_are_read_with_their_paths() {
        let list = b"nfnetlink.file=net/netfilter/nfnetlink\0nfnetlink.alias=net-pf-16-proto-12\0odd\0other.alias=x\0";
        let info = ModuleInfo { aliases: vec!["net-pf-16-proto-12".into()], ..ModuleInfo::default() };
        assert_eq!(read_builtin(list), [("net/netfilter/nfnetlink.ko".to_owned(), info)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(at in 0_usize..400, value: u8, cut in 0_usize..500) {
            let mut elf = module(b"depends=a\0");
            if let Some(byte) = elf.get_mut(at) { *byte = value; }
            elf.truncate(cut);
            let _ = read(&elf);
        }
    }
}
