//! Policy, rules and findings: what a snapshot means to whoever runs the host.
//!
//! [`audit`] takes a snapshot, a [`Policy`] and today's date, runs every rule of [`registry`] over every namespace,
//! and returns an [`AuditReport`]. Rules show what they say by walking frames, and where none of theirs arrives they ask
//! what is proven of every frame ([`Claim`]); what a walk or a proof leaves open stays with the finding. Pure: no I/O, no
//! clock, no text for people beyond the sentences of a finding.

mod audit;
mod blanks;
mod carry;
mod claims;
mod context;
mod finding;
mod policy;
mod probe;
mod proven;
pub mod registry;
mod remedy;
mod roles;
mod rule;
pub mod rules;
mod shown;
#[cfg(test)]
mod testing;

pub use audit::{AuditReport, BridgeSummary, Counts, LowerDevice, PortSummary, UnreadNote, audit};
pub use blanks::Blanks;
pub use carry::Carry;
pub use claims::{Claim, NotProven};
pub use context::{Alike, BridgeView, Context, Knowledge, PortView, Tag};
pub use finding::{AppliedWaiver, Device, Evidence, Finding, Findings, Remedy, Role, Severity, Witness};
pub use policy::{Access, BridgePolicy, Glob, LinkLocalProtocol, Policy, PolicyError, PortPolicy, Waiver};
pub use probe::{Destination, Hit, Probe, Reach};
pub use proven::Sent;
pub use remedy::{shell, sysctl_name};
pub use roles::Roles;
pub use rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};
pub use shown::Shown;
