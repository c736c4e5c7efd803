//! Development tasks for Portcullis.
//!
//! The one task of weight is [`test`]: the whole test suite on this machine, and its kernel-facing part inside stock
//! Debian kernels booted in QEMU. The library half exists so that the two programs of this package, `xtask` on the
//! machine and `guest-init` inside a booted kernel, share what both must agree on: [`frames`] and [`modules`].
//! Nothing here may know what Portcullis does, only how it is tested.

pub mod apt;
pub mod arguments;
pub mod boot;
pub mod bzimage;
pub mod cargo;
pub mod cpio;
pub mod error;
pub mod frames;
pub mod initramfs;
pub mod kernels;
pub mod modinfo;
pub mod modules;
pub mod packages;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod results;
pub mod table;
pub mod test;

pub use error::Error;
