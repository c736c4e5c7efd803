//! The kernel as the judge: random configurations are built in real namespaces, random frames sent through them, and
//! where they really went is held against the walk.
//!
//! A scenario comes from a seed ([`generate`]), is built (`stand`), its state read back (`readback`), each frame walked
//! (`expect`), sent, and what was heard (`evidence`) compared, all in [`run`]. What does not agree is shrunk
//! ([`shrink`]) and printed as commands ([`script`]). Nothing here decides where a frame goes: that is the walk's to
//! say and the kernel's to do. [`proofs`] does the same for what is said of every frame at once.

pub mod blind;
mod evidence;
mod expect;
mod facts;
pub mod firewall;
pub mod fixes;
pub mod generate;
pub mod knobs;
pub mod methods;
pub mod names;
mod neighbours;
pub mod proofs;
mod readback;
mod remedies;
pub mod run;
pub mod script;
pub mod shrink;
mod stand;
mod state;
pub mod step;
pub mod tools;
pub mod traffic;

/// Why a scenario could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something that every scenario needs.
    #[error(transparent)]
    Kernel(#[from] portcullis_kernel::Error),
    /// A thread of the harness ended by a panic.
    #[error("a thread of the harness panicked")]
    Thread,
    /// A snapshot without a namespace, which cannot be.
    #[error("the snapshot holds no namespace")]
    NoNamespace,
}
