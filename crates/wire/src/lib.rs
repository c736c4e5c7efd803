//! Netlink bytes to and from typed messages.
