//! Network namespaces: finding them, making them, working in them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns, unshare};
use nix::unistd::{Pid, getegid, geteuid};
use portcullis_snapshot::NetnsId;

use crate::Error;

/// Where `ip netns` keeps names.
pub const NAMES: &str = "/run/netns";

/// A network namespace that is held open.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

impl Netns {
    /// Opens the namespace that a path stands for.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::file(path, error))?;
        let id = NetnsId(file.metadata().map_err(|error| Error::file(path, error))?.ino());
        Ok(Self { fd: file.into(), id })
    }

    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Opens a named namespace.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::open(Path::new(NAMES).join(name))
    }

    /// Opens the namespace of a process.
    ///
    /// # Errors
    /// If it went away or belongs to somebody else.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Makes a new namespace without a name: it goes away with its last descriptor.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn create() -> Result<Self, Error> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::refused("making a network namespace", e))?;
            Self::current()
        })?
    }

    /// Returns its id.
    #[must_use]
    pub const fn id(&self) -> NetnsId {
        self.id
    }

    /// Returns a number that no other namespace gets before the machine starts again (`SO_NETNS_COOKIE`), where
    /// [`id`](Self::id) is given again. Of the calling thread's namespace; `None` before Linux 5.14.
    #[must_use]
    pub fn current_cookie() -> Option<u64> {
        const SO_NETNS_COOKIE: i32 = 71;
        let socket = crate::sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).ok()?;
        let mut cookie = [0; 8];
        let length = crate::sys::get_option(socket.as_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie);
        (length.ok()? == cookie.len()).then(|| u64::from_ne_bytes(cookie))
    }

    /// Runs something in the namespace, on a thread of its own: the caller stays where it is.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_a_thread(|| {
            // Entering needs privilege even where one already is, and an ordinary user may read at home.
            if Self::current()?.id != self.id {
                setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| Error::refused(format!("entering {}", self.id), errno))?;
            }
            Ok(work())
        })?
    }

    /// Moves the calling thread there, for good. Threads and processes that it starts from then on are there too.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter(&self) -> Result<(), Error> {
        setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::refused(format!("entering {}", self.id), errno))
    }

    /// Gives the namespace a name under `/run/netns`, where `ip netns` finds it.
    ///
    /// # Errors
    /// If the name is taken, or without `CAP_SYS_ADMIN`.
    pub fn persist(&self, name: &str) -> Result<(), Error> {
        let path = Path::new(NAMES).join(name);
        std::fs::create_dir_all(NAMES).map_err(|error| Error::file(NAMES, error))?;
        share_names()?;
        File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::file(&path, error))?;
        let bound = self.run(|| {
            mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|errno| Error::refused(format!("binding {}", path.display()), errno))
        });
        bound.and_then(|done| done).inspect_err(|_| drop(std::fs::remove_file(&path)))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes the directory of names a mount of its own, whose mounts other namespaces see too, as ip(8) does before it makes a name
/// (`netns_add`, ip/ipnetns.c). Made later, that mount would hide the names that are there, so that none could be taken away.
fn share_names() -> Result<(), Error> {
    let nothing = None::<&str>;
    let share = || mount(nothing, NAMES, nothing, MsFlags::MS_SHARED | MsFlags::MS_REC, nothing);
    let shared = match share() {
        Err(Errno::EINVAL) => {
            let bound = mount(Some(NAMES), NAMES, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing);
            bound.and_then(|()| share())
        }
        other => other,
    };
    shared.map_err(|errno| Error::refused(format!("sharing {NAMES}"), errno))
}

/// Takes a name away from `/run/netns`; the namespace lives on while anything else holds it.
///
/// # Errors
/// If there is none of that name, or without `CAP_SYS_ADMIN`.
pub fn remove_name(name: &str) -> Result<(), Error> {
    let path = Path::new(NAMES).join(name);
    // A name may be mounted more than once, or not any more.
    loop {
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(Error::refused(format!("unmounting {}", path.display()), errno)),
        }
    }
    std::fs::remove_file(&path).map_err(|error| Error::file(&path, error))
}

/// Lists the names under `/run/netns`; none if there is no such directory.
#[must_use]
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(NAMES).into_iter().flatten();
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Lists where namespaces are bound, named or not (`/proc/self/mountinfo`).
#[must_use]
pub fn bind_mounts() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_net = |line: &&str| line.contains(" - nsfs ") && line.contains(" net:[");
    text.lines().filter(of_net).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Enters a new user, network and mount namespace, so that an ordinary user may make networks in it.
///
/// Does nothing for root. Call it while the process has one thread.
///
/// # Errors
/// If the kernel or its administrator does not allow it.
pub fn enter_user_namespace() -> Result<(), Error> {
    if geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (geteuid(), getegid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|errno| Error::refused("making a user namespace", errno))?;
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(path, text).map_err(|error| Error::file(path, error))?;
    }
    // A sysfs of our own shows the new namespace's interfaces; where that is not allowed, netlink tells enough.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>);
    Ok(())
}

/// Reads a file under `/sys` as the calling thread's network namespace has it: `class/net/br0/flags`.
///
/// A sysfs shows the namespace that it was mounted in, so one is mounted, where the calling thread alone sees it: call this
/// on a thread that ends soon.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`, or if there is no such file.
pub fn read_sysfs(path: &str) -> Result<String, Error> {
    let refused = |errno| Error::refused("mounting a sysfs", errno);
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(refused)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::MS_RDONLY, None::<&str>).map_err(refused)?;
    let path = Path::new("/sys").join(path);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
    Ok(text.trim().to_owned())
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| Error::Thread)
}

/// Keeps the calling thread, and those it will start, on one processor.
///
/// The kernel then handles the frames that it sends between virtual interfaces one after another, in order: when a
/// later frame has arrived, an earlier one has been dealt with.
///
/// # Errors
/// If the kernel refuses.
pub fn pin_to_one_processor() -> Result<(), Error> {
    let refused = |errno| Error::refused("staying on one processor", errno);
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).map_err(refused)?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(first).map_err(refused)?;
    sched_setaffinity(this, &one).map_err(refused)
}
