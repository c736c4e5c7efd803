//! Shows, proves and enforces the isolation of Linux bridges on virtualization hosts.
fn main() {}
