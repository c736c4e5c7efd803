//! Policy, rules and findings.
