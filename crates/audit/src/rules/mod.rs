//! The rules, a file each: manual page, check, tests. What several of them share is in `crate::probe` and
//! `crate::remedy`.

pub(crate) mod host;
pub mod link_local_to_host;
