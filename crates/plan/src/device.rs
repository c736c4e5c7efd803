//! What a change is about.

use std::fmt;

use portcullis_snapshot::{IfIndex, Link, Netns};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device. Its index and its name have to belong together still when a change is made: both are used again for others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its index in its namespace.
    pub index: IfIndex,
    /// Its name: untrusted text.
    pub name: String,
}

impl Device {
    /// Returns the device in a namespace, if it is still the same.
    #[must_use]
    pub fn find<'n>(&self, netns: &'n Netns) -> Option<&'n Link> {
        netns.link(self.index).filter(|link| link.name == self.name)
    }
}

impl From<&Link> for Device {
    fn from(link: &Link) -> Self {
        Self { index: link.index, name: link.name.clone() }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whose IPv4 or IPv6 settings are meant (`/proc/sys/net/ipv4/conf/*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConfAt {
    /// Those of a device.
    Device(Device),
    /// Those that the next device starts with.
    Default,
}

impl fmt::Display for ConfAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}
