//! Rules of the legacy tools and of their successors as steps: each is one command of the tool, run in the host's
//! namespace, so that each can be left out.

use std::process::Command;

use portcullis_kernel::Error;

/// A rule, or a chain, as the tool is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRule {
    /// The program: `iptables-legacy`, `ebtables-nft` …
    pub tool: &'static str,
    /// What it is told.
    pub arguments: Vec<String>,
}

impl ToolRule {
    /// Runs the tool in this thread's namespace.
    ///
    /// # Errors
    /// When the tool is missing, or says no.
    pub fn apply(&self) -> Result<(), Error> {
        let file = |source| Error::File { path: self.tool.to_owned(), source };
        let output = Command::new(self.tool).args(&self.arguments).output().map_err(file)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default().to_owned();
        Err(file(std::io::Error::other(first)))
    }

    /// Returns the command, for people.
    #[must_use]
    pub fn command(&self) -> String {
        let words = self.arguments.iter().map(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,!=+".contains(c);
            if word.chars().all(plain) && !word.is_empty() { word.clone() } else { format!("'{word}'") }
        });
        format!("ip netns exec host {} {}", self.tool, words.collect::<Vec<_>>().join(" "))
    }
}
