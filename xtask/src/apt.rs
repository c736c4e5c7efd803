//! Fetching Debian packages without installing them and without touching the machine's own lists: every call uses a
//! private state below the cache, so it works the same for root and for anyone else. What to fetch is not decided here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::packages::{Release, Source, os_release_value, sources_from_uris, sources_list};
use crate::process::{find_program, output_of, text_of};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The machine's package manager, as far as it concerns the lab.
#[derive(Debug)]
pub struct Apt {
    state: PathBuf,
    codename: String,
    configured: Vec<Source>,
}

/// The lists of one release, up to date.
#[derive(Debug)]
pub struct Lists {
    configuration: PathBuf,
}

impl Apt {
    /// Looks at the machine. `state` is a directory of ours, made when needed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is no apt, or no Debian.
    pub fn find(state: &Path) -> Result<Self, Error> {
        let unavailable = |why: &str| Error::Unavailable(why.to_owned());
        if std::env::consts::ARCH != "x86_64" {
            return Err(unavailable("the lab knows kernels for x86-64 alone"));
        }
        for program in ["apt-get", "apt-cache", "dpkg"] {
            find_program(program).ok_or_else(|| Error::Unavailable(format!("{program} is not here")))?;
        }
        let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if os_release_value(&os, "ID") != Some("debian") {
            return Err(unavailable("this is not a Debian system, and the kernels are Debian's"));
        }
        let codename = os_release_value(&os, "VERSION_CODENAME").unwrap_or("sid").to_owned();
        // An empty private state makes apt name every configured list, whatever the machine holds already.
        let configuration = private_state(&state.join("configured"), None)?;
        let said = text_of(Command::new("apt-get").arg("-c").arg(&configuration).args([
            "-q",
            "update",
            "--print-uris",
        ]))?;
        let configured = sources_from_uris(&said);
        Ok(Self { state: state.to_path_buf(), codename, configured })
    }

    /// Returns the lists of the machine's own release.
    ///
    /// # Errors
    /// As [`Apt::lists`].
    pub fn own_lists(&self) -> Result<Lists, Error> {
        let own = |name: &'static str| Release { name, more: &[], security: name != "sid" };
        let known = ["bullseye", "bookworm", "trixie", "forky", "sid"]
            .into_iter()
            .find(|name| *name == self.codename);
        let name =
            known.ok_or_else(|| Error::Unavailable(format!("the release {} is unknown", self.codename)))?;
        self.lists(own(name))
    }

    /// Reads the lists of `release` from the archives the machine uses for its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where no archive is configured or none answers.
    pub fn lists(&self, release: Release) -> Result<Lists, Error> {
        let keyring = Path::new(KEYRING).exists().then_some(KEYRING);
        let list = sources_list(release, &self.codename, &self.configured, keyring).ok_or_else(|| {
            Error::Unavailable(format!("apt is configured with no archive of {}", self.codename))
        })?;
        let configuration = private_state(&self.state.join(release.name), Some(&list))?;
        let lists = Lists { configuration };
        let update =
            lists.command("apt-get").args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]).output();
        match update {
            Ok(output) if output.status.success() => Ok(lists),
            Ok(output) => {
                let said = crate::process::tail(&output.stderr, 3);
                Err(Error::Unavailable(format!("apt-get update failed for {}:{said}", release.name)))
            }
            Err(source) => Err(Error::Io { doing: "run `apt-get update`".to_owned(), source }),
        }
    }
}

impl Lists {
    /// Returns the names of all packages that start with `prefix`, one a line.
    ///
    /// # Errors
    /// When apt-cache fails.
    pub fn names(&self, prefix: &str) -> Result<String, Error> {
        text_of(self.command("apt-cache").args(["pkgnames", prefix]))
    }

    /// Returns what installing `packages` would do, without doing it.
    ///
    /// # Errors
    /// When apt finds no way to install them.
    pub fn simulate(&self, packages: &[&str]) -> Result<String, Error> {
        text_of(
            self.command("apt-get").args(["-s", "-q", "--no-install-recommends", "install"]).args(packages),
        )
    }

    /// Downloads `packages` and unpacks them all into `target`.
    ///
    /// # Errors
    /// When the download fails or a package cannot be unpacked.
    pub fn unpack(&self, packages: &[String], target: &Path) -> Result<(), Error> {
        let downloads = target.with_extension("debs");
        for directory in [&downloads, &target.to_path_buf()] {
            fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
        }
        output_of(self.command("apt-get").args(["-q", "download"]).args(packages).current_dir(&downloads))?;
        for entry in fs::read_dir(&downloads).map_err(Error::io("list", &downloads))? {
            let file = entry.map_err(Error::io("list", &downloads))?.path();
            output_of(Command::new("dpkg").arg("-x").arg(&file).arg(target))?;
        }
        fs::remove_dir_all(&downloads).map_err(Error::io("remove", &downloads))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration);
        command
    }
}

/// Makes a state directory of our own and an apt configuration that points there; `list` replaces the configured sources.
fn private_state(directory: &Path, list: Option<&str>) -> Result<PathBuf, Error> {
    for below in ["lists/partial", "cache/archives/partial"] {
        let path = directory.join(below);
        fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
    }
    let here = directory.display();
    // The machine's hooks run after an update of its lists; ours are not its lists. DEP-11 is not for kernels.
    let mut text = format!(
        "#clear APT::Update;\n#clear Acquire::IndexTargets::deb::DEP-11;\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\nAPT::Sandbox::User \"root\";\nDir::State \"{here}\";\nDir::State::status \"/var/lib/dpkg/status\";\n\
         Dir::State::lists \"{here}/lists\";\nDir::Cache \"{here}/cache\";\n"
    );
    if let Some(list) = list {
        text.push_str(&format!(
            "Dir::Etc::sourcelist \"{here}/sources.list\";\nDir::Etc::sourceparts \"-\";\n"
        ));
        let path = directory.join("sources.list");
        fs::write(&path, list).map_err(Error::io("write", &path))?;
    }
    let path = directory.join("apt.conf");
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    Ok(path)
}
