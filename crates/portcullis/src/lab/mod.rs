//! The articles' networks, and others, built in namespaces of this machine.
//!
//! A lab is built over netlink, with real veth, tap and bridges, out of namespaces that have no names: whatever ends
//! the process takes them away. Each shows on real traffic what the articles say, and where this kernel differs.
//! Nothing here judges a bridge; that is the audit's part.

mod audited;
mod foreign_bridge;
mod hypervisor;
mod macvlan;
mod print;
mod station;
mod story;
mod world;

use portcullis_kernel::Error;
use portcullis_kernel::namespace;
use portcullis_kernel::signal::Held;

pub use print::print;
pub use story::{Article, Step, Story};

use world::Node;

/// The machines of a lab, with their names.
type Nodes = Vec<(String, Node)>;

/// A lab that can be run.
#[derive(Debug, Clone, Copy)]
pub struct Lab {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    run: fn() -> Result<Story, Error>,
    nodes: fn() -> Result<Nodes, Error>,
}

/// Every lab.
pub const LABS: [Lab; 3] = [
    Lab {
        name: "hypervisor",
        about: "guests on an address-less bridge reach the host and the network behind it; what stops them",
        run: hypervisor::run,
        nodes: hypervisor::nodes,
    },
    Lab {
        name: "foreign-bridge",
        about: "another product bridges br0: its guests' inbound traffic shows up on every other guest",
        run: foreign_bridge::run,
        nodes: foreign_bridge::nodes,
    },
    Lab {
        name: "macvlan",
        about: "guests on macvlan cannot reach the host, but whatever is on the wire can",
        run: macvlan::run,
        nodes: macvlan::nodes,
    },
];

/// Why a lab could not be run, built or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is none of that name.
    #[error("there is no lab {name:?}; there are {}", LABS.map(|lab| lab.name).join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It is up already.
    #[error("the lab {name} is up already; take it down first: portcullis lab down {name}")]
    Up {
        /// Which.
        name: &'static str,
    },
    /// It is not up.
    #[error("the lab {name} is not up")]
    NotUp {
        /// Which.
        name: &'static str,
    },
    /// A signal came while it was being built.
    #[error("interrupted; nothing is left behind")]
    Interrupted,
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] Error),
}

/// Finds a lab.
///
/// # Errors
/// [`LabError::Unknown`], which names those there are.
pub fn find(name: &str) -> Result<Lab, LabError> {
    let found = LABS.into_iter().find(|lab| lab.name == name);
    found.ok_or_else(|| LabError::Unknown { name: name.to_owned() })
}

/// Where the names of a lab's namespaces begin.
fn prefix(lab: Lab) -> String {
    format!("portcullis-{}-", lab.name)
}

fn names_of(lab: Lab) -> Vec<String> {
    let prefix = prefix(lab);
    namespace::names().into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

impl Lab {
    /// Builds the lab, shows what there is to show, and takes it down again.
    ///
    /// An ordinary user gets a user namespace for it; call it before the process has a second thread.
    ///
    /// # Errors
    /// If the kernel does not let us make namespaces, or something goes wrong underway.
    pub fn run(self) -> Result<Story, LabError> {
        namespace::enter_user_namespace()?;
        Ok((self.run)()?)
    }

    /// Builds the lab and leaves it up, in namespaces that `ip netns` shows. Returns their names.
    ///
    /// # Errors
    /// If it is up already, or the kernel refuses; then nothing is left behind.
    pub fn up(self) -> Result<Vec<String>, LabError> {
        if !names_of(self).is_empty() {
            return Err(LabError::Up { name: self.name });
        }
        let nodes = (self.nodes)()?;
        // Until here an interruption takes everything with it; names would stay.
        let signals = Held::new()?;
        let mut names: Vec<String> = Vec::new();
        for (node, netns) in nodes {
            let name = format!("{}{node}", prefix(self));
            let made = netns.persist(&name).map_err(LabError::from);
            names.extend(made.is_ok().then_some(name));
            let interrupted = signals.came().unwrap_or(false).then_some(LabError::Interrupted);
            if let Some(error) = made.err().or(interrupted) {
                for name in &names {
                    let _ = namespace::remove_name(name);
                }
                return Err(error);
            }
        }
        Ok(names)
    }

    /// Takes the lab down. Returns the names of the namespaces that went.
    ///
    /// # Errors
    /// If it is not up, or the kernel refuses.
    pub fn down(self) -> Result<Vec<String>, LabError> {
        let names = names_of(self);
        if names.is_empty() {
            return Err(LabError::NotUp { name: self.name });
        }
        for name in &names {
            namespace::remove_name(name)?;
        }
        Ok(names)
    }
}
