//! Having a plan made at every start of the machine: a policy, a unit that applies what it takes before guests start, and one
//! that goes on to do so for the ports that come with them.
//!
//! Nothing of the plan itself is kept. It is made anew each time, for the bridges and the kernel that there are then.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::arguments::FixArguments;
use crate::failure::Failure;

/// What the first line of a file says that is ours to take away.
const OURS: &str = "# Written by portcullis fix --persist; portcullis fix --remove takes it away.";

const POLICY: &str = "etc/portcullis/policy.toml";
/// The units: what comes before guests, and what stays.
const UNITS: [Unit; 2] = [
    Unit {
        name: "portcullis.service",
        command: &["fix", "--yes", "--confirm", "0"],
        head: "Description=Isolation of bridges, as planned by Portcullis\n\
               Wants=network.target\n\
               After=network.target\n\
               Before=libvirt-guests.service pve-guests.service incus-startup.service\n",
        service: "Type=oneshot\n\
                  RemainAfterExit=yes\n\
                  # 1: applied, and something that the policy wants is left. The journal has it.\n\
                  SuccessExitStatus=1\n",
    },
    Unit {
        name: "portcullis-watch.service",
        command: &["watch", "--reapply"],
        head: "Description=Isolation of the ports that come to bridges, as planned by Portcullis\n\
               Wants=portcullis.service\n\
               After=portcullis.service\n",
        service: "Type=exec\n\
                  Restart=on-failure\n\
                  RestartSec=10\n",
    },
];

/// A unit of systemd, but for what was asked for.
struct Unit {
    name: &'static str,
    command: &'static [&'static str],
    head: &'static str,
    service: &'static str,
}

impl Unit {
    fn path(&self, root: &Path) -> PathBuf {
        root.join("etc/systemd/system").join(self.name)
    }

    /// Having it started, as `systemctl enable` does.
    fn wanted(&self, root: &Path) -> PathBuf {
        root.join("etc/systemd/system/multi-user.target.wants").join(self.name)
    }

    /// Guests of libvirt, of Proxmox VE and of Incus start after the first.
    fn text(&self, arguments: &FixArguments) -> Result<String, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot tell where this program is: {error}")))?;
        let mut command = vec![quoted(&program.display().to_string())];
        command.extend(self.command.iter().map(|word| (*word).to_owned()));
        for (option, names) in
            [("--method", &arguments.planning.method), ("--bridge", &arguments.planning.bridge)]
        {
            command.extend(names.iter().flat_map(|name| [option.to_owned(), quoted(name)]));
        }
        command.extend(arguments.planning.complete.then(|| "--complete".to_owned()));
        let (head, service, command) = (self.head, self.service, command.join(" "));
        Ok(format!(
            "{OURS}\n\
             [Unit]\n\
             {head}\n\
             [Service]\n\
             {service}ExecStart={command}\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        ))
    }
}

/// Writes the policy, unless it is in its usual place already, and the units. Returns what was written.
pub(super) fn write(arguments: &FixArguments) -> Result<Vec<PathBuf>, Failure> {
    let root = &arguments.root;
    let mut written = Vec::new();
    if let Some(path) = &arguments.planning.policy.path {
        let usual = root.join(POLICY);
        let text = fs::read_to_string(path).map_err(|error| failed(path, &error))?;
        let held = fs::read_to_string(&usual).ok();
        if held.as_deref().is_some_and(|held| held != text && !held.starts_with(OURS)) {
            return Err(Failure::new(format!("{}: there is another policy already", usual.display()))
                .hint("fix without --policy uses it"));
        }
        if held.as_deref() != Some(text.as_str()) {
            put(&usual, &format!("{OURS}\n{text}"))?;
            written.push(usual);
        }
    }
    for unit in UNITS {
        let (path, wanted) = (unit.path(root), unit.wanted(root));
        put(&path, &unit.text(arguments)?)?;
        if fs::symlink_metadata(&wanted).is_err() {
            make_directory(&wanted)?;
            std::os::unix::fs::symlink(format!("../{}", unit.name), &wanted)
                .map_err(|error| failed(&wanted, &error))?;
        }
        written.extend([path, wanted]);
    }
    Ok(written)
}

/// Takes away what [`write`] wrote, and nothing else. Returns what was taken away.
pub(super) fn remove(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut removed = Vec::new();
    for unit in UNITS.iter().rev() {
        let path = unit.path(root);
        if is_ours(&path)? {
            removed.extend(take_away(unit.wanted(root))?);
            removed.extend(take_away(path)?);
        }
    }
    let policy = root.join(POLICY);
    if is_ours(&policy)? {
        removed.extend(take_away(policy)?);
    }
    Ok(removed)
}

fn is_ours(path: &Path) -> Result<bool, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.starts_with(OURS)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, &error)),
    }
}

fn take_away(path: PathBuf) -> Result<Option<PathBuf>, Failure> {
    match fs::remove_file(&path) {
        Ok(()) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, &error)),
    }
}

/// A word of a unit's command line (systemd.service(5)).
fn quoted(word: &str) -> String {
    let escaped: String = word
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            '%' => vec!['%', '%'],
            '$' => vec!['$', '$'],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Writes a file as a whole or not at all.
fn put(path: &Path, text: &str) -> Result<(), Failure> {
    make_directory(path)?;
    let new = path.with_extension("new");
    let whole = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    whole.and_then(|()| fs::rename(&new, path)).map_err(|error| {
        let _ = fs::remove_file(&new);
        failed(path, &error)
    })
}

fn make_directory(of: &Path) -> Result<(), Failure> {
    let Some(parent) = of.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| failed(parent, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn fix(arguments: &[&str]) -> FixArguments {
        let words = ["portcullis", "fix"].iter().chain(arguments);
        let Command::Fix(fix) = Arguments::parse_from(words).command else { unreachable!() };
        fix
    }

    #[test]
    fn what_is_written_is_taken_away_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().to_str().unwrap();
        let policy = root.path().join("mine.toml");
        fs::write(&policy, "fail-on = \"high\"\n").unwrap();
        let arguments =
            fix(&["--persist", "--root", at, "--policy", policy.to_str().unwrap(), "--bridge", "br$0"]);
        assert_eq!(write(&arguments).unwrap().len(), 5);
        // Once more is the same.
        assert_eq!(write(&arguments).unwrap().len(), 5);
        for (unit, command) in UNITS.iter().zip(["fix --yes --confirm 0", "watch --reapply"]) {
            let text = fs::read_to_string(unit.path(root.path())).unwrap();
            assert!(text.contains(&format!("{command} --bridge \"br$$0\"\n")), "{text}");
            assert_eq!(fs::read_to_string(unit.wanted(root.path())).unwrap(), text);
        }
        let usual = fs::read_to_string(root.path().join(POLICY)).unwrap();
        assert!(portcullis_audit::Policy::parse(&usual).is_ok());
        assert_eq!(remove(root.path()).unwrap().len(), 5);
        assert_eq!(remove(root.path()).unwrap().len(), 0);
        assert!(policy.exists());
    }

    #[test]
    fn another_policy_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let usual = root.path().join(POLICY);
        fs::create_dir_all(usual.parent().unwrap()).unwrap();
        fs::write(&usual, "# the administrator's\n").unwrap();
        let policy = root.path().join("mine.toml");
        fs::write(&policy, "").unwrap();
        let arguments = fix(&[
            "--persist",
            "--root",
            root.path().to_str().unwrap(),
            "--policy",
            policy.to_str().unwrap(),
        ]);
        assert!(write(&arguments).is_err());
        remove(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&usual).unwrap(), "# the administrator's\n");
    }
}
