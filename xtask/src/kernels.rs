//! The cache of kernels: each entry is a plain `vmlinux`, an archive of its modules and its release. An entry is made in
//! a directory beside it and renamed when whole, so that an interrupted run leaves nothing that looks finished.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::Error;
use crate::apt::Apt;
use crate::bzimage::{self, Compression};
use crate::cpio::Archive;
use crate::modinfo;
use crate::modules::{BUILT_IN, INDEX_PATH, Index, Module, canonical, is_wanted};
use crate::packages::{KernelPackages, newest_kernel, releases_for};
use crate::process::say;
use crate::qemu::Tools;

/// Grows whenever an entry is made differently, so that older ones are made anew.
const FORMAT: u32 = 2;

/// A kernel ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The version asked for, for example `6.12`.
    pub version: String,
    /// What `uname -r` will say.
    pub release: String,
    /// The ELF kernel.
    pub vmlinux: PathBuf,
    /// The archive of its modules, to be followed by the job's own.
    pub modules: PathBuf,
}

/// Provides kernels as [`Cache::provide`] does, with the tools that boot them; no kernel where there can be no cache.
#[must_use]
pub fn provide(versions: &[String]) -> (Tools, Vec<Result<Kernel, Error>>) {
    match Cache::open() {
        Ok(cache) => (cache.tools(), cache.provide(versions)),
        Err(error) => {
            let none = versions.iter().map(|_| Err(Error::Unavailable(error.to_string()))).collect();
            (Tools::at("/".into()), none)
        }
    }
}

/// The directory where kernels and tools are kept.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens `$PORTCULLIS_KERNEL_CACHE`, or else `portcullis/kernels` in the user's cache directory.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if neither can be told or made.
    pub fn open() -> Result<Self, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("PORTCULLIS_KERNEL_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("portcullis/kernels")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/portcullis/kernels")))
            .ok_or_else(|| Error::Unavailable("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?;
        let usable = fs::create_dir_all(&root).and_then(|()| root.canonicalize());
        let unusable =
            |error| Error::Unavailable(format!("cannot use the cache {}: {error}", root.display()));
        usable.map(|root| Self { root }).map_err(unusable)
    }

    /// Returns the cache's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the tools of the cache, whether or not they are there yet.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools::at(self.root.join(format!("tools-{FORMAT}")))
    }

    /// Returns a kernel if it is in the cache.
    #[must_use]
    pub fn cached(&self, version: &str) -> Option<Kernel> {
        let entry = self.entry(version);
        let release = fs::read_to_string(entry.join("release")).ok()?;
        let (vmlinux, modules) = (entry.join("vmlinux"), entry.join("modules.cpio"));
        Some(Kernel { version: version.to_owned(), release, vmlinux, modules })
    }

    /// Fetches what is missing: the tools first, then each kernel. One answer for each version, in the same order.
    pub fn provide(&self, versions: &[String]) -> Vec<Result<Kernel, Error>> {
        let tools = self.tools();
        let whole = tools.are_complete() && versions.iter().all(|version| self.cached(version).is_some());
        if whole {
            return versions.iter().filter_map(|version| self.cached(version)).map(Ok).collect();
        }
        let prepared = self.lock().and_then(|lock| {
            let apt = Apt::find(&self.root.join("apt"))?;
            if !tools.are_complete() {
                say("fetching QEMU");
                self.make(&format!("tools-{FORMAT}"), |target| Tools::fetch(&apt, target))?;
            }
            Ok((lock, apt))
        });
        match prepared {
            Ok((_lock, apt)) => versions.iter().map(|version| self.fetch(&apt, &tools, version)).collect(),
            Err(error) => versions.iter().map(|_| Err(Error::Unavailable(error.to_string()))).collect(),
        }
    }

    fn fetch(&self, apt: &Apt, tools: &Tools, version: &str) -> Result<Kernel, Error> {
        if let Some(kernel) = self.cached(version) {
            return Ok(kernel);
        }
        let mut missing = Error::Unavailable(format!("no release carries a kernel {version}"));
        for release in releases_for(version) {
            let found = apt
                .lists(*release)
                .and_then(|lists| Ok((newest_kernel(version, &lists.names("linux-")?), lists)));
            match found {
                Ok((Some(packages), lists)) => {
                    say(&format!("fetching kernel {}", packages.release));
                    self.make(&self.entry_name(version), |target| {
                        let unpacked = target.join("unpacked");
                        lists.unpack(&packages.packages, &unpacked)?;
                        prepare(tools, &packages, &unpacked, target)?;
                        fs::remove_dir_all(&unpacked).map_err(Error::io("remove", &unpacked))
                    })?;
                    return self.cached(version).ok_or(missing);
                }
                Ok((None, _)) => {}
                Err(error) => missing = error,
            }
        }
        Err(missing)
    }

    /// Makes the entry `name` through `fill`, which gets a fresh directory. Only a whole entry gets its name.
    fn make(&self, name: &str, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        let (target, unfinished) = (self.root.join(name), self.root.join(format!("{name}.unfinished")));
        for old in [&unfinished, &target] {
            match fs::remove_dir_all(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", old)(error));
                }
                _ => {}
            }
        }
        fs::create_dir_all(&unfinished).map_err(Error::io("make", &unfinished))?;
        fill(&unfinished)?;
        fs::rename(&unfinished, &target).map_err(Error::io("finish", &target))
    }

    /// Waits until no other run fills the cache.
    fn lock(&self) -> Result<Flock<fs::File>, Error> {
        let path = self.root.join("lock");
        let file = fs::File::create(&path).map_err(Error::io("make", &path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::io("lock", &path)(errno.into()))
    }

    fn entry(&self, version: &str) -> PathBuf {
        self.root.join(self.entry_name(version))
    }

    fn entry_name(&self, version: &str) -> String {
        let plain: String =
            version.chars().filter(|c| c.is_ascii_alphanumeric() || "._-+".contains(*c)).collect();
        format!("kernel-{plain}-{FORMAT}")
    }
}

/// Turns an unpacked kernel into what an entry holds.
fn prepare(tools: &Tools, packages: &KernelPackages, unpacked: &Path, target: &Path) -> Result<(), Error> {
    let release = &packages.release;
    let trees = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path).join(release));
    let tree = trees.iter().find(|path| path.join("kernel").is_dir());
    let tree = tree.ok_or_else(|| Error::damaged(release, "the packages hold no modules"))?;
    let images = [unpacked.join(format!("boot/vmlinuz-{release}")), tree.join("vmlinuz")];
    let image = images.iter().find(|path| path.is_file());
    let image = image.ok_or_else(|| Error::damaged(release, "the packages hold no kernel image"))?;

    let bytes = fs::read(image).map_err(Error::io("read", image))?;
    let (compression, payload) = bzimage::payload(&bytes)?;
    let vmlinux = decompress(tools, compression, payload)?;
    if !vmlinux.starts_with(b"\x7fELF") {
        return Err(Error::damaged(release, "its payload is not an ELF kernel"));
    }
    let modules = module_archive(tools, tree)?;
    for (name, contents) in
        [("vmlinux", &vmlinux[..]), ("modules.cpio", &modules), ("release", release.as_bytes())]
    {
        let path = target.join(name);
        fs::write(&path, contents).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// Packs the wanted modules of a tree, plain, with the index that finds them.
fn module_archive(tools: &Tools, tree: &Path) -> Result<Vec<u8>, Error> {
    let kernel = tree.join("kernel");
    let mut files = Vec::new();
    list_modules(&kernel, &mut files)?;
    let mut index = Index::default();
    let mut wanted = Vec::new();
    let mut contents = Vec::new();
    for file in &files {
        let below = file.strip_prefix(&kernel).unwrap_or(file).to_string_lossy().into_owned();
        // Whatever lies outside the drivers may be needed by something wanted.
        if below.starts_with("drivers/") && !below.starts_with("drivers/net/") {
            continue;
        }
        let name = module_name(&below);
        let bytes = fs::read(file).map_err(Error::io("read", file))?;
        let bytes = match Compression::of(&bytes) {
            Some(compression) => decompress(tools, compression, &bytes)?,
            None => bytes,
        };
        let info = modinfo::read(&bytes).ok_or_else(|| Error::damaged(&below, "it is no kernel module"))?;
        if is_wanted(&below) {
            wanted.push(name.clone());
        }
        index.insert(&name, Module { path: guest_path(&name), info });
        contents.push((name, bytes));
    }
    let builtin = tree.join("modules.builtin.modinfo");
    for (path, info) in modinfo::read_builtin(&fs::read(&builtin).map_err(Error::io("read", &builtin))?) {
        let name = module_name(&path);
        index.insert(&name, Module { path: BUILT_IN.to_owned(), info });
        if is_wanted(&path) {
            wanted.push(name);
        }
    }
    let names = index.closure(wanted.iter().map(String::as_str));
    let mut archive = Archive::default();
    for (name, bytes) in contents.iter().filter(|(name, _)| names.contains(&canonical(name))) {
        archive.file(Path::new(&guest_path(name)), bytes);
    }
    archive.file(Path::new(INDEX_PATH), index.restricted_to(&names).to_text().as_bytes());
    Ok(archive.finish())
}

/// Returns the name of the module in the file at `path`, without `.ko` and what may follow.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).to_owned()
}

fn guest_path(name: &str) -> String {
    format!("/lib/modules/{name}.ko")
}

/// Collects every module below `directory`.
fn list_modules(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        if path.is_dir() {
            list_modules(&path, files)?;
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".ko")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

fn decompress(tools: &Tools, compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let program = compression.program();
    let failed = |source| Error::Io { doing: format!("run `{program}`"), source };
    let mut command: Command = tools.command(program);
    let mut child = command
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let input = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.map(|mut input| input.write_all(bytes)));
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let message = crate::process::tail(&output.stderr, 3);
        return Err(Error::Command {
            command: format!("{program} -dc"),
            status: output.status.to_string(),
            message,
        });
    }
    Ok(output.stdout)
}
