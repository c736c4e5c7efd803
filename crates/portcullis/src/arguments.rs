//! What was typed. Nothing here touches the system.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_audit::Severity;
use portcullis_datapath::FrameBuilder;
use portcullis_snapshot::{EtherType, MacAddr};

const STATUS: &str = "\
Exit status:
  0  done; for audit: nothing at or above the threshold
  1  audit: findings at or above the threshold; lab run: something went otherwise than expected
  2  it could not be done, or the arguments are wrong";

const PROVE: &str = "\
What can be meant:
  host         the host's own stack, protocol by protocol
  infra        its other addresses, and where it routes to
  guest, uplink, foreign
               ports by their role; or one port by its name
  sniff        unicast frames of other ports, for somebody else
  spoof        the addresses of other ports
  spoof-ip     ARP, packets and neighbour advertisements in the name of the IP addresses that
               the host knows of other ports' guests, or of --address, to the host and to
               each other port

A verdict holds for frames with up to three VLAN tags, one at a time.

Exit status:
  0  everything that was asked for is isolated
  1  something is exposed or unproven
  2  it could not be done, or the arguments are wrong";

const FIX: &str = "\
Without a policy, a bridge device that has no address is meant to be only a switch, and what is
chosen is the cheapest set of remedies that is proven to keep its guests from the host.
portcullis explain methods lists the remedies.

Exit status:
  0  done, or nothing to do; with --dry-run: everything that the policy wants is proven with it
  1  something that the policy wants stays unproven, or the plan was not agreed to
  2  it could not be done: nothing was changed, or what was is undone";

const WATCH: &str = "\
It stays until it is ended. What the kernel tells of is seen to at once: interfaces, FDB entries,
addresses, routes, rules of nftables, filters of tc; the rest, such as the policy file,
sysctls and rules of iptables-legacy and ebtables-legacy, within a minute. A plan is printed when
it is another than the last, in JSON one document of fix after the other.

Exit status:
  2  it could not be done, or it was ended while it was applying something, which is undone then";

/// Shows, proves and enforces the isolation of Linux bridges on virtualization hosts.
///
/// Looks at the bridges of this machine, or of a saved snapshot, and tells whether guests are isolated from the host,
/// from the networks behind it and from each other. Changes nothing unless asked to.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = STATUS, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Finds what breaks isolation, with the frame that gets through and what closes it
    #[command(after_help = STATUS)]
    Audit(AuditArguments),
    /// Takes the state that everything else works on, as one JSON document
    Snapshot(SnapshotArguments),
    /// Follows one frame through the kernel, function by function
    Walk(WalkArguments),
    /// Proves that no frame of a port reaches something, or shows one that does
    #[command(after_help = PROVE)]
    Prove(ProveArguments),
    /// Plans what makes the policy hold, proves it, and applies it
    #[command(after_help = FIX)]
    Fix(FixArguments),
    /// Keeps what fix applied and waits to have confirmed
    Confirm(StateArguments),
    /// Undoes what fix applied
    Rollback(RollbackArguments),
    /// Tells what fix applied here, and whether the kernel still has it so
    Status(StatusArguments),
    /// Undoes what is not confirmed in time
    #[command(hide = true)]
    Watchdog(WatchdogArguments),
    /// Plans again whenever something changes, and tells what is open, or closes it
    #[command(after_help = WATCH)]
    Watch(WatchArguments),
    /// Draws the bridges, their ports and the guests behind them
    Map(MapArguments),
    /// Explains a rule: threat, kernel path, remedies and their trade-offs
    Explain(ExplainArguments),
    /// Builds networks in namespaces and shows on them what is true
    Lab(LabArguments),
}

/// Where the state comes from.
#[derive(Debug, Default, Args)]
pub(crate) struct Source {
    /// Look at every network namespace that can be found, not only at this one
    #[arg(long, conflicts_with_all = ["netns", "snapshot"])]
    pub(crate) all_netns: bool,
    /// Look at this network namespace: a name of `ip netns`, a path, or net:[INODE]
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    /// Read a saved snapshot instead of the kernel; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: AuditFormat,
    /// Exit with status 1 for findings of this severity and worse: critical, high, medium, low or info. Without it,
    /// what the policy says; without that, medium
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on: Option<Severity>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PolicyFile {
    /// What is meant to be: roles, what is allowed, waivers. Without it, /etc/portcullis/policy.toml if it exists
    #[arg(long = "policy", value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// How to print; text is only a summary
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["kind", "frame", "pcap"]))]
pub(crate) struct WalkArguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The device that the frame comes in by, usually a port of a bridge
    #[arg(long, value_name = "PORT")]
    pub(crate) from: String,
    /// The frame from its destination address on, in hex, without frame check sequence
    #[arg(long, value_name = "HEX")]
    pub(crate) frame: Option<String>,
    /// Every frame of a pcap file, each walked on its own; JSON is then one document after the other
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Make a frame of this kind
    #[arg(value_enum)]
    pub(crate) kind: Option<FrameKind>,
    #[command(flatten)]
    pub(crate) made: FrameOptions,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What a made frame is like.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Frame options")]
pub(crate) struct FrameOptions {
    /// The address that is asked for or sent to
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["frame", "pcap"])]
    pub(crate) to: Option<IpAddr>,
    /// The address that the frame claims to come from; without it, a documentation address
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["frame", "pcap"])]
    pub(crate) src_ip: Option<IpAddr>,
    /// Destination MAC; without it, what a neighbour would use: the bridge's, or the group's
    #[arg(long, value_name = "MAC", conflicts_with_all = ["frame", "pcap"])]
    pub(crate) dst_mac: Option<MacAddr>,
    /// Source MAC; without it, one that the bridge knows behind the port, or 02:70:63:00:00:01
    #[arg(long, value_name = "MAC", conflicts_with_all = ["frame", "pcap"])]
    pub(crate) src_mac: Option<MacAddr>,
    /// A VLAN tag, from the outside in; `ad:VID` is an 802.1ad one. May be repeated
    #[arg(long = "vlan", value_name = "VID", value_parser = tag, conflicts_with_all = ["frame", "pcap"])]
    pub(crate) vlans: Vec<(EtherType, u16)>,
    /// Destination port of udp and tcp
    #[arg(long, value_name = "NUMBER", default_value_t = 53, conflicts_with_all = ["frame", "pcap"])]
    pub(crate) port: u16,
}

/// The kinds of frames that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FrameKind {
    /// An ARP request for --to
    Arp,
    /// An ICMP or ICMPv6 echo request to --to
    Ping,
    /// A UDP datagram to --to
    Udp,
    /// The first segment of a TCP connection to --to
    Tcp,
    /// A neighbour solicitation for --to
    Ns,
    /// A router advertisement
    Ra,
    /// An IGMP query
    Igmp,
    /// A spanning tree BPDU
    Bpdu,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    /// The ports whose frames are meant: a role, or one by name. Without it, every port behind which there is a guest
    #[arg(long, value_name = "PORT|ROLE")]
    pub(crate) from: Option<String>,
    /// What they are to be kept from; may be repeated. Without it, everything
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    /// Frames in the name of this IP address: the one that spoof-ip is about; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) address: Vec<IpAddr>,
    /// Only in the state as it is now, rather than whatever is learned meanwhile
    #[arg(long)]
    pub(crate) now: bool,
    /// Say which settings each verdict rests on: those that change it when they alone are changed
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write the frames that get through to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What is planned for, and how that is said.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlanArguments {
    /// Work in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    /// Only this bridge, or this lower device of macvlans; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) bridge: Vec<String>,
    /// Use this remedy, and no other; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) method: Vec<String>,
    /// With --method: add what it takes to have everything proven
    #[arg(long, requires = "method")]
    pub(crate) complete: bool,
    #[command(flatten)]
    pub(crate) state: StateDirectory,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FixArguments {
    #[command(flatten)]
    pub(crate) planning: PlanArguments,
    /// Plan for a saved snapshot instead of the kernel, and change nothing; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["netns", "yes", "confirm", "persist"])]
    pub(crate) snapshot: Option<PathBuf>,
    /// Show the plan, and change nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Print the plan in other words, and change nothing
    #[arg(long = "as", value_enum, value_name = "WORDS", conflicts_with = "format")]
    pub(crate) words: Option<Words>,
    /// Apply without asking
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Undo it after this time (60s, 5m) unless portcullis confirm comes; 0 for never. Without it, 60s if this session
    /// came through a device that the plan touches, else never
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) confirm: Option<Duration>,
    /// Have it applied at every start of the machine, before guests start
    #[arg(long, conflicts_with_all = ["netns", "dry_run", "words"])]
    pub(crate) persist: bool,
    /// Undo what is applied, and what --persist wrote
    #[arg(long, conflicts_with_all = ["persist", "dry_run", "words", "confirm", "method", "bridge", "snapshot"])]
    pub(crate) remove: bool,
    /// With --persist and --remove: where /etc is to be found
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    pub(crate) planning: PlanArguments,
    /// Apply what is planned, as fix does, without asking. Without it, nothing is changed
    #[arg(long)]
    pub(crate) reapply: bool,
}

/// Where it is written down what was applied.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StateDirectory {
    /// Where it is kept what was applied, so that it can be undone; it should not outlast a restart, as the changes do not
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/portcullis")]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StateArguments {
    /// Work in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    #[command(flatten)]
    pub(crate) state: StateDirectory,
}

#[derive(Debug, Args)]
pub(crate) struct WatchdogArguments {
    #[command(flatten)]
    pub(crate) state: StateDirectory,
    /// What it watches over
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) at: StateArguments,
    /// Undo without asking
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) at: StateArguments,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Other words for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Words {
    /// Commands for a shell
    Script,
    /// A ruleset for nft -f
    Nft,
    /// A file for /etc/sysctl.d
    Sysctl,
    /// Lines for /etc/network/interfaces
    Ifupdown,
    /// Files for /etc/systemd/network
    Networkd,
    /// A desired state for nmstatectl
    Nmstate,
}

#[derive(Debug, Args)]
pub(crate) struct MapArguments {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The rule, or the remedy of fix; `list`, or nothing, lists the rules, `methods` the remedies
    pub(crate) rule: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    #[command(subcommand)]
    pub(crate) command: LabCommand,
    /// How to print
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Lists the networks that can be built
    List,
    /// Builds one in named namespaces, and leaves it there
    Up {
        /// Which one
        name: String,
    },
    /// Takes away what `up` built
    Down {
        /// Which one
        name: String,
    },
    /// Builds one, shows on it what is true, and leaves nothing behind
    Run {
        /// Which one
        name: String,
    },
}

/// How most commands print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// How audit prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For tools that collect findings, version 2.1.0
    Sarif,
    /// One page that needs nothing else
    Html,
}

fn severity(text: &str) -> Result<Severity, String> {
    let known = Severity::NAMES.iter().find(|(name, _)| *name == text);
    known.map(|(_, severity)| *severity).ok_or_else(|| "one of critical, high, medium, low, info".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = || text.parse().ok().map(Duration::from_secs);
    let said = || text.parse::<jiff::SignedDuration>().ok().and_then(|said| said.try_into().ok());
    seconds().or_else(said).ok_or_else(|| "a time is a number with a unit: 60s, 5m".to_owned())
}

fn tag(text: &str) -> Result<(EtherType, u16), String> {
    let (tpid, vid) = match text.strip_prefix("ad:") {
        Some(vid) => (EtherType::SVLAN, vid),
        None => (EtherType::VLAN, text),
    };
    // 0 and 4095 are no VLANs, but a guest can send them.
    let vid = vid.parse().ok().filter(|vid| *vid <= 4095).ok_or("a VLAN id is 0 to 4095")?;
    Ok((tpid, vid))
}

impl FrameOptions {
    /// Starts a frame with its addresses and tags.
    pub(crate) fn builder(&self, dst: MacAddr, src: MacAddr) -> FrameBuilder {
        self.vlans.iter().fold(FrameBuilder::new(dst, src), |frame, (tpid, vid)| frame.tag(*tpid, *vid))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_arguments_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err() && duration("-5s").is_err());
    }
}
