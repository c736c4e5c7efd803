//! What the values of `default` mean for the port of the next guest.

use super::{DOC, show};
use crate::context::{BridgeView, Context};
use crate::finding::{Finding, Severity};
use crate::remedy::{self, docs};

/// A port made tomorrow starts with the values of `default`.
pub(super) fn finding(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Finding> {
    let default = &context.netns().ipv6.read()?.default;
    let believes = match default.accept_ra {
        Some(0) | None => false,
        Some(accept) => accept == 2 || default.forwarding == Some(0),
    };
    if !believes || default.disable_ipv6 == Some(1) {
        return None;
    }
    let why = "A port that is made for the next guest starts with the values of `default`, under which the kernel \
               believes router advertisements. Those to link-local group addresses reach it on the port itself, \
               however the bridge and today's ports are set.";
    let finding = context
        .finding(&DOC, bridge, None, "the next port will believe router advertisements", why)
        .severity(Severity::Medium)
        .evidence("IPv6 settings of default", show(Some(default)));
    Some(finding.remedies([remedy::sysctl(
        context,
        &docs::ACCEPT_RA_DEFAULT,
        "Devices that are made from now on ignore router advertisements.",
        &[("ipv6", "default", "accept_ra", 0)],
    )]))
}
