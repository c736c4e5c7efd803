//! One look at every process: which namespace it lives in, which sockets and taps it holds.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use portcullis_snapshot::{NetnsId, ProcessRef};

/// How many processes are named of a namespace or a socket; nobody reads more.
const ENOUGH: usize = 8;

/// What was found out about processes, as far as this user may look.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    by_netns: HashMap<NetnsId, Vec<ProcessRef>>,
    by_socket: HashMap<u64, Vec<ProcessRef>>,
    /// Taps by name, with the namespace of the process that holds them.
    by_tap: HashMap<String, Vec<(NetnsId, ProcessRef)>>,
    /// Macvtaps by the index of their interface (`/dev/tapN`).
    by_macvtap: HashMap<u32, Vec<ProcessRef>>,
}

impl ProcessTable {
    /// Looks through `/proc`. Processes that may not be looked at, or end meanwhile, are left out.
    pub(super) fn scan() -> Self {
        let mut table = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid {
                table.take_in(pid, &entry.path());
            }
        }
        table
    }

    fn take_in(&mut self, pid: u32, path: &Path) -> Option<()> {
        // Kernel threads live in the first namespace and hold nothing. They are most of the processes of many a host.
        let kernel_thread = fs::read(path.join("cmdline")).is_ok_and(|line| line.is_empty());
        if kernel_thread {
            return None;
        }
        let netns = NetnsId(fs::metadata(path.join("ns/net")).ok()?.ino());
        let name = printable(fs::read_to_string(path.join("comm")).ok()?.trim());
        let process = ProcessRef { pid, name };
        push(self.by_netns.entry(netns).or_default(), process.clone());
        for fd in fs::read_dir(path.join("fd")).ok()?.flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let Some(target) = target.to_str() else { continue };
            if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                push(self.by_socket.entry(inode.parse().ok()?).or_default(), process.clone());
            } else if target == "/dev/net/tun" {
                let info = fs::read_to_string(path.join("fdinfo").join(fd.file_name())).unwrap_or_default();
                if let Some(tap) = info.lines().find_map(|line| line.strip_prefix("iff:")) {
                    self.by_tap.entry(tap.trim().to_owned()).or_default().push((netns, process.clone()));
                }
            } else if let Some(index) = target.strip_prefix("/dev/tap").and_then(|index| index.parse().ok()) {
                push(self.by_macvtap.entry(index).or_default(), process.clone());
            }
        }
        Some(())
    }

    /// Returns a few of the processes that live in a namespace.
    pub(super) fn living_in(&self, netns: NetnsId) -> Vec<ProcessRef> {
        self.by_netns.get(&netns).cloned().unwrap_or_default()
    }

    /// Returns one process of each namespace that any process lives in.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (NetnsId, u32)> {
        self.by_netns.iter().filter_map(|(netns, processes)| Some((*netns, processes.first()?.pid)))
    }

    /// Returns the processes that hold a socket.
    pub(super) fn of_socket(&self, inode: u64) -> Vec<ProcessRef> {
        self.by_socket.get(&inode).cloned().unwrap_or_default()
    }

    /// Returns the processes that hold a tap. Names are unique in a namespace only, and a hypervisor need not live in
    /// its tap's: if processes of several namespaces hold taps of that name, only those of `netns` count.
    pub(super) fn of_tap(&self, netns: NetnsId, name: &str) -> Vec<ProcessRef> {
        let Some(holders) = self.by_tap.get(name) else { return Vec::new() };
        let single = holders.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        let here = holders.iter().filter(|(of, _)| single || *of == netns);
        let mut processes: Vec<_> = here.map(|(_, process)| process.clone()).collect();
        processes.dedup_by_key(|process| process.pid);
        processes
    }

    /// Returns the processes that hold a macvtap.
    pub(super) fn of_macvtap(&self, index: u32) -> Vec<ProcessRef> {
        self.by_macvtap.get(&index).cloned().unwrap_or_default()
    }
}

fn push(processes: &mut Vec<ProcessRef>, process: ProcessRef) {
    let known = processes.last().is_some_and(|last| last.pid == process.pid);
    if !known && processes.len() < ENOUGH {
        processes.push(process);
    }
}

/// Returns text that a terminal shows and does not obey: names of processes are whatever their owner likes.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
