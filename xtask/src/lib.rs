//! Development tasks for Portcullis.
//!
//! [`mod@test`] runs the whole test suite on this machine, and its kernel-facing part inside stock Debian kernels booted in
//! QEMU; [`differ`] runs one long program in the same places. The library half exists so that the two programs of this
//! package, `xtask` on the machine and `guest-init` inside a booted kernel, share what both must agree on: [`frames`] and
//! [`modules`].
//! Nothing here may know what Portcullis does, only how it is tested.

pub mod account;
pub mod apt;
pub mod arguments;
pub mod boot;
pub mod bzimage;
pub mod cargo;
pub mod cpio;
pub mod differ;
pub mod error;
pub mod frames;
pub mod host;
pub mod initramfs;
pub mod kernels;
pub mod modinfo;
pub mod modules;
pub mod pace;
pub mod packages;
pub mod parallel;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod results;
pub mod table;
pub mod test;
pub mod watch;

pub use error::Error;
