//! The program from outside: saved snapshots in, text, JSON and exit status out. Needs neither root nor a bridge.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use portcullis_report::json::{
    AuditDocument, ExplainDocument, LabsDocument, MapDocument, ProveDocument, VerdictName, WalkDocument,
};

/// Address-less `br0` with two guests, `eth1` with an address and a macvlan, the host forwarding.
fn hypervisor() -> String {
    fixture("hypervisor.json")
}

fn fixture(name: &str) -> String {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect();
    folder.join(name).display().to_string()
}

fn portcullis(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS")
        .output()
        .unwrap()
}

/// Runs it, and returns the status with what was printed.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = portcullis(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs something that cannot be done, and returns what it says.
fn refused(arguments: &[&str]) -> String {
    let (status, out, error) = run(arguments);
    assert_eq!((status, out.as_str()), (2, ""), "{error}");
    error.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/"), "")
}

fn json<T: serde::de::DeserializeOwned>(arguments: &[&str]) -> (i32, T) {
    let (status, out, error) = run(&[arguments, &["--format", "json"]].concat());
    (status, serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("{wrong}: {out}{error}")))
}

#[test]
fn audit_gives_findings_as_the_contract_says() {
    let (status, document): (_, AuditDocument) = json(&["audit", "--snapshot", &hypervisor()]);
    assert_eq!((status, document.schema.as_str()), (1, "portcullis.audit/1"));
    for rule in ["link-local-to-host", "host-arp", "host-ipv4", "infra-address", "host-forwards"] {
        let finding = document.findings.iter().find(|finding| finding.rule == rule);
        let finding = finding.unwrap_or_else(|| panic!("no {rule}"));
        assert_eq!((&*finding.netns, finding.bridge.as_deref()), ("host", Some("br0")), "{rule}");
        assert!(
            !finding.evidence.is_empty() && !finding.remedies.is_empty() && !finding.references.is_empty()
        );
        assert_eq!(finding.remedies.len(), finding.commands.len());
        let witness = finding.witness.as_ref().unwrap_or_else(|| panic!("{rule} has no witness"));
        assert!(witness.frame.len() >= 60);
    }
    let bridge = &document.bridges[0];
    let ports: Vec<_> = bridge.ports.iter().map(|port| (port.name.as_str(), port.role.name())).collect();
    assert_eq!(ports, [("veth1", "guest"), ("veth2", "guest")]);
    assert_eq!(document.lower_devices[0].name, "eth1");
}

#[test]
fn every_witness_walks_to_where_it_is_said_to_get() {
    let (_, document): (_, AuditDocument) = json(&["audit", "--snapshot", &hypervisor()]);
    let witnesses = document.findings.iter().filter_map(|finding| finding.witness.as_ref());
    let mut walked = 0;
    for witness in witnesses {
        let frame = witness.frame.to_string();
        let arguments = ["walk", "--snapshot", &hypervisor(), "--from", &witness.port, "--frame", &frame];
        let (status, walk): (_, WalkDocument) = json(&arguments);
        assert_eq!(status, 0);
        assert!(!walk.outcomes.is_empty(), "{witness:?} {walk:?}");
        walked += 1;
    }
    assert!(walked > 0);
}

#[test]
fn the_threshold_decides_the_status() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "fail-on = \"info\"\n").unwrap();
    let policy = policy.path().to_str().unwrap();
    let (all, none) = (hypervisor(), fixture("no-bridge.json"));
    for (arguments, wanted) in [
        (vec!["audit", "--snapshot", &all], 1),
        (vec!["audit", "--snapshot", &all, "--fail-on", "critical"], 1),
        (vec!["audit", "--snapshot", &all, "--netns", "host"], 1),
        (vec!["audit", "--snapshot", &none], 0),
        (vec!["audit", "--snapshot", &none, "--fail-on", "critical", "--policy", policy], 0),
    ] {
        assert_eq!(run(&arguments).0, wanted, "{arguments:?}");
    }
}

#[test]
fn waived_findings_do_not_count() {
    let (_, before): (_, AuditDocument) = json(&["audit", "--snapshot", &hypervisor()]);
    let mut rules: Vec<_> = before.findings.iter().map(|finding| finding.rule.clone()).collect();
    rules.sort();
    rules.dedup();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for rule in &rules {
        writeln!(file, "[[waiver]]\nrule = \"{rule}\"\nreason = \"a test\"\nexpires = 9999-12-31\n").unwrap();
    }
    let path = file.path().to_str().unwrap().to_owned();
    let (status, after): (_, AuditDocument) =
        json(&["audit", "--snapshot", &hypervisor(), "--policy", &path]);
    assert_eq!((status, after.summary.waived), (0, before.findings.len()));
    assert_eq!(after.policy, Some(path));
}

#[test]
fn a_host_without_a_bridge_is_told_so() {
    let (status, out, _) = run(&["audit", "--snapshot", &fixture("no-bridge.json")]);
    assert_eq!(status, 0);
    insta::assert_snapshot!(out);
    let (status, out, _) = run(&["map", "--snapshot", &fixture("no-bridge.json")]);
    assert_eq!(status, 0);
    insta::assert_snapshot!(out, @"There is no bridge here, and no macvlan.");
}

#[test]
fn other_formats_are_whole() {
    let (status, out, _) = run(&["audit", "--snapshot", &hypervisor(), "--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &log["version"]), (1, &serde_json::json!("2.1.0")));
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in log["runs"][0]["results"].as_array().unwrap() {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
    }
    let (status, out, _) = run(&["audit", "--snapshot", &hypervisor(), "--format", "html"]);
    assert_eq!(status, 1);
    assert!(out.starts_with("<!DOCTYPE html>") && out.ends_with("</html>\n"));
}

#[test]
fn text_has_no_colours_in_a_pipe() {
    let (_, out, _) = run(&["audit", "--snapshot", &hypervisor()]);
    assert!(!out.contains('\u{1b}'));
    assert!(out.contains("portcullis walk --from veth1 --frame "), "{out}");
    assert!(out.contains("portcullis explain host-forwards"), "{out}");
}

#[test]
fn map_draws_the_network() {
    let (status, out, _) = run(&["map", "--snapshot", &hypervisor()]);
    assert_eq!(status, 0);
    insta::assert_snapshot!(out);
    let (_, map): (_, MapDocument) = json(&["map", "--snapshot", &hypervisor()]);
    assert_eq!((map.schema.as_str(), map.bridges[0].ports.len()), ("portcullis.map/1", 2));
}

#[test]
fn walk_builds_frames() {
    let walk = |arguments: &[&str]| {
        let snapshot = hypervisor();
        let arguments = [&["walk", "--snapshot", &snapshot, "--from", "veth1"], arguments].concat();
        json::<WalkDocument>(&arguments).1
    };
    let to = |walk: &WalkDocument, place: &str| walk.outcomes.iter().any(|outcome| outcome.to == place);
    let arp = walk(&["arp", "--to", "192.0.2.1"]);
    assert!(to(&arp, "host") && to(&arp, "port"), "{arp:?}");
    assert!(arp.drop.is_none() && arp.netns == "host");
    let forwarded = walk(&["ping", "--to", "192.0.2.9", "--src-ip", "198.51.100.5"]);
    assert!(to(&forwarded, "forwarded"), "{forwarded:?}");
    let other = walk(&["udp", "--to", "203.0.113.1", "--dst-mac", "02:00:00:00:99:99"]);
    assert!(to(&other, "port") && !to(&other, "host"), "{other:?}");
    let tagged = walk(&["bpdu", "--vlan", "5", "--vlan", "ad:7"]);
    assert_eq!(&tagged.frame[24..40], "8100000588a80007");
    for kind in ["ra", "igmp", "bpdu"] {
        assert!(!walk(&[kind]).steps.is_empty());
    }
    assert!(!walk(&["ns", "--to", "fe80::1"]).steps.is_empty());
    assert!(!walk(&["tcp", "--to", "192.0.2.1", "--port", "22"]).steps.is_empty());
}

#[test]
fn walk_reads_captures() {
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 2, 1, 8, 6], &[0; 46]].concat();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    for _ in 0..2 {
        for word in [0, 0, 60_u32, 60] {
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        file.write_all(&frame).unwrap();
    }
    let path = file.path().to_str().unwrap();
    let arguments =
        ["walk", "--snapshot", &hypervisor(), "--from", "veth1", "--pcap", path, "--format", "json"];
    let (status, out, error) = run(&arguments);
    assert_eq!(status, 0, "{error}");
    let walks = serde_json::Deserializer::from_str(&out).into_iter::<WalkDocument>();
    assert_eq!(walks.map(Result::unwrap).count(), 2);
}

#[test]
fn explain_knows_every_rule() {
    let (status, list): (_, ExplainDocument) = json(&["explain"]);
    assert_eq!((status, list.schema.as_str()), (0, "portcullis.explain/1"));
    let (_, text, _) = run(&["explain", "list"]);
    for page in list.rules {
        assert!(text.contains(&page.rule));
        let (status, out, _) = run(&["explain", &page.rule]);
        assert_eq!(status, 0);
        assert!(out.contains("Remedies, cheapest first") && out.contains("References"), "{out}");
    }
}

#[test]
fn labs_are_listed() {
    let (status, labs): (_, LabsDocument) = json(&["lab", "list"]);
    let names: Vec<_> = labs.labs.iter().map(|lab| lab.name.as_str()).collect();
    assert_eq!((status, names), (0, vec!["hypervisor", "foreign-bridge", "macvlan"]));
}

#[test]
fn proofs_come_with_frames_that_get_there() {
    let folder = tempfile::tempdir().unwrap();
    let pcap = folder.path().join("witnesses.pcap");
    let pcap = pcap.to_str().unwrap();
    let (status, document): (_, ProveDocument) =
        json(&["prove", "--snapshot", &hypervisor(), "--from", "veth1", "--pcap", pcap]);
    assert_eq!((status, document.schema.as_str()), (1, ProveDocument::SCHEMA));
    let said: Vec<_> = document.claims.iter().map(|claim| (claim.to.as_str(), claim.verdict)).collect();
    assert!(said.contains(&("host:arp", VerdictName::Exposed)), "{said:?}");
    assert!(said.contains(&("infra", VerdictName::Exposed)), "{said:?}");
    assert!(said.contains(&("veth2", VerdictName::Exposed)), "{said:?}");
    let witnesses: Vec<_> = document.claims.iter().filter_map(|claim| claim.witness.as_ref()).collect();
    for witness in &witnesses {
        let frame = witness.frame.to_string();
        let arguments = ["walk", "--snapshot", &hypervisor(), "--from", &witness.port, "--frame", &frame];
        let (_, walk): (_, WalkDocument) = json(&arguments);
        assert!(!witness.later && !walk.outcomes.is_empty(), "{witness:?} {walk:?}");
    }
    let walk = ["walk", "--snapshot", &hypervisor(), "--from", "veth1", "--pcap", pcap, "--format", "json"];
    let (_, out, _) = run(&walk);
    let walks: Result<Vec<_>, _> =
        serde_json::Deserializer::from_str(&out).into_iter::<WalkDocument>().collect();
    let frames: Vec<_> = walks.unwrap().into_iter().map(|walk| walk.frame).collect();
    let sent: Vec<_> = witnesses.iter().map(|witness| witness.frame.to_string()).collect();
    assert_eq!(frames, sent);
}

#[test]
fn a_guest_speaks_in_the_name_of_any_address_that_is_asked_for() {
    let asked = ["--from", "veth1", "--to", "spoof-ip", "--address", "203.0.113.7,2001:db8::7"];
    let (status, out, error) =
        run(&[&["prove", "--snapshot", &hypervisor()][..], &asked, &["--format", "json"]].concat());
    assert_eq!((status, error.as_str()), (1, ""));
    let document: ProveDocument = serde_json::from_str(&out).unwrap();
    let exposed = document.claims.iter().filter(|claim| claim.verdict == VerdictName::Exposed);
    let said = exposed.map(|claim| (claim.address.as_deref().unwrap_or_default(), &*claim.to));
    let said: Vec<_> = said.filter(|(_, to)| *to == "veth2").collect();
    assert_eq!(said, [("203.0.113.7", "veth2"), ("2001:db8::7", "veth2")]);
}

#[test]
fn what_cannot_be_proven_of_is_refused() {
    let refusals = [
        refused(&["prove", "--snapshot", &hypervisor(), "--from", "veth9"]),
        refused(&["prove", "--snapshot", &hypervisor(), "--to", "hots"]),
        refused(&["prove", "--snapshot", &hypervisor(), "--to", "host", "--address", "10.0.0.5"]),
    ];
    insta::assert_snapshot!(refusals.concat());
}

#[test]
fn a_snapshot_goes_through_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.json");
    let copy = copy.to_str().unwrap();
    let (status, out, error) = run(&["snapshot", "--snapshot", &hypervisor(), "-o", copy]);
    assert_eq!((status, out.as_str(), error.as_str()), (0, "", ""));
    let value =
        |path: &str| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(value(copy), value(&hypervisor()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let (_, out, _) = run(&["snapshot", "--snapshot", &fixture("no-bridge.json"), "--format", "text"]);
    insta::assert_snapshot!(out);
}

#[test]
fn damage_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = std::fs::read_to_string(hypervisor()).unwrap();
    let files = [
        write("cut.json", &whole[..whole.len() / 2]),
        write("odd.json", &whole.replacen("\"mtu\": 1500", "\"mtu\": \"big\"", 1)),
        write("newer.json", "{\"schema\": \"portcullis.snapshot/2\"}"),
        write("empty.json", ""),
        folder.path().join("missing.json").to_str().unwrap().to_owned(),
    ];
    let said: String = files.iter().map(|file| refused(&["audit", "--snapshot", file])).collect();
    insta::assert_snapshot!(said.replace(&format!("{}/", folder.path().display()), ""));
}

#[test]
fn a_typo_in_the_policy_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let mut said = String::new();
    for text in [
        "[[bridge]]\nname = \"br0\"\nhost-acess = \"deny\"\n",
        "fail-on = \"hihg\"\n",
        "[[waiver]]\nrule = \"host-apr\"\nreason = \"x\"\nexpires = 2099-01-01\n",
        "[[bridge]\n",
    ] {
        std::fs::write(&path, text).unwrap();
        said += &refused(&["audit", "--snapshot", &hypervisor(), "--policy", path.to_str().unwrap()]);
    }
    insta::assert_snapshot!(said.replace(&format!("{}/", folder.path().display()), ""));
    assert!(refused(&["audit", "--policy", "/nonexistent.toml"]).contains("/nonexistent.toml"));
}

#[test]
fn wrong_names_get_the_nearest() {
    let snapshot = hypervisor();
    let walk = |arguments: &[&str]| refused(&[&["walk", "--snapshot", &snapshot], arguments].concat());
    let said = [
        walk(&["--from", "vteh1", "arp", "--to", "192.0.2.1"]),
        walk(&["--from", "veth1", "arp"]),
        walk(&["--from", "veth1", "ns", "--to", "192.0.2.1"]),
        walk(&["--from", "veth1", "--frame", "0180c2"]),
        walk(&["--from", "veth1", "--frame", "0180cx"]),
        walk(&["--from", "veth1", "--netns", "hots", "ra"]),
        walk(&["--from", "veth1", "--pcap", &snapshot]),
        refused(&["explain", "host-apr"]),
        refused(&["explain", "own-netsn"]),
        refused(&["fix", "--snapshot", &snapshot, "--method", "own-netns"]),
        refused(&["lab", "run", "hypervisr"]),
    ];
    insta::assert_snapshot!(said.concat());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["snapshot", "--snapshot", &hypervisor()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Reads this machine, as whoever runs the tests if that is an ordinary user, else as nobody.
#[test]
fn reading_needs_no_root() {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    for arguments in [&["audit", "--policy", "/dev/null"][..], &["map"], &["snapshot", "--format", "text"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir("/");
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => {
                println!("skipped, because nobody cannot run the program: {error}");
                return;
            }
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)) && error.is_empty(), "{arguments:?}: {error}");
    }
}

#[test]
fn help_is_as_it_was() {
    let mut said = String::new();
    for command in [
        &["--help"][..],
        &["audit", "--help"],
        &["snapshot", "--help"],
        &["walk", "--help"],
        &["map", "--help"],
        &["explain", "--help"],
        &["lab", "--help"],
        &["lab", "run", "--help"],
    ] {
        let (status, out, _) = run(command);
        assert_eq!(status, 0);
        said += &format!("$ portcullis {}\n{out}\n", command.join(" "));
    }
    insta::assert_snapshot!(said);
    let (status, out, _) = run(&["--version"]);
    assert_eq!((status, out.as_str()), (0, concat!("portcullis ", env!("CARGO_PKG_VERSION"), "\n")));
    assert_eq!(run(&[]).0, 2);
    assert_eq!(run(&["audit", "--format", "xml"]).0, 2);
}
