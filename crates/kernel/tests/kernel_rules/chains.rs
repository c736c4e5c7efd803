//! Chains, policies, jumps, and tables that change while they are read.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_kernel::namespace::Netns;
use portcullis_snapshot::{LegacyChain, LegacyFamily, LegacyTarget, XtVerdict};
use portcullis_testnet::{fresh, skip};

use super::{legacy_tables, run};

/// Makes chains with a tool: a policy, a chain that is jumped to, one that is gone to.
fn chains_of(program: &str, family: LegacyFamily, base: &str, goto: &str) {
    let words = [
        "-N first".to_owned(),
        "-N second".to_owned(),
        "-A second -j DROP".to_owned(),
        format!("-A {base} -j first"),
        format!("-A first {goto} second"),
        format!("-P {base} DROP"),
    ];
    for words in words {
        if let Err(error) = run(program, &format!("-t filter {words}")) {
            skip!("{error}");
        }
    }
    let tables = legacy_tables(family);
    let [table] = tables.as_slice() else { panic!("{tables:#?}") };
    let Some(chains) = table.chains.read() else { skip!("{:?}", table.chains) };
    let chain = |name: &str| chains.iter().find(|chain| chain.name == name).unwrap();
    let targets =
        |chain: &LegacyChain| chain.rules.iter().map(|rule| rule.target.clone()).collect::<Vec<_>>();
    assert_eq!(targets(chain(base)), [LegacyTarget::Jump("first".to_owned())]);
    assert_eq!((chain(base).policy, chain(base).hook.is_some()), (XtVerdict::Drop, true));
    let on = if goto == "-g" {
        LegacyTarget::Goto("second".to_owned())
    } else {
        LegacyTarget::Jump("second".to_owned())
    };
    assert_eq!(targets(chain("first")), [on]);
    assert_eq!(targets(chain("second")), [LegacyTarget::Verdict(XtVerdict::Drop)]);
    let default = if family == LegacyFamily::Ebtables { XtVerdict::Accept } else { XtVerdict::Return };
    assert_eq!((chain("first").policy, chain("first").hook), (default, None));
    let bases: Vec<_> =
        chains.iter().filter(|chain| chain.hook.is_some()).map(|chain| &*chain.name).collect();
    let wanted: &[&str] = match family {
        LegacyFamily::Arptables => &["INPUT", "OUTPUT", "FORWARD"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    };
    assert_eq!(bases, wanted);
}

#[test]
fn chains_of_iptables() {
    fresh(|| chains_of("iptables-legacy", LegacyFamily::Iptables, "FORWARD", "-g"));
}

#[test]
fn chains_of_ip6tables() {
    fresh(|| chains_of("ip6tables-legacy", LegacyFamily::Ip6tables, "INPUT", "-g"));
}

#[test]
fn chains_of_arptables() {
    fresh(|| chains_of("arptables-legacy", LegacyFamily::Arptables, "INPUT", "-j"));
}

#[test]
fn chains_of_ebtables() {
    fresh(|| chains_of("ebtables-legacy", LegacyFamily::Ebtables, "FORWARD", "-j"));
}

/// Says that it is over when it goes away, also when an assertion fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_table_that_changes_is_read_as_it_was_at_one_time() {
    fresh(|| {
        if let Err(error) = run("iptables-legacy", "-t filter -A FORWARD -s 192.0.2.1 -j DROP") {
            skip!("{error}");
        }
        let (here, over) = (Netns::current().unwrap(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                here.run(|| {
                    while !over.load(Ordering::Relaxed) {
                        run("iptables-legacy", "-t filter -A FORWARD -p tcp --dport 1 -j DROP").unwrap();
                        run("iptables-legacy", "-t filter -D FORWARD 2").unwrap();
                    }
                })
                .unwrap();
            });
            let _over = Over(&over);
            for _ in 0..40 {
                let tables = legacy_tables(LegacyFamily::Iptables);
                let [table] = tables.as_slice() else { panic!("{tables:#?}") };
                let chains = table.chains.read().unwrap();
                let forward = chains.iter().find(|chain| chain.name == "FORWARD").unwrap();
                assert!(matches!(forward.rules.len(), 1 | 2), "{forward:#?}");
            }
        });
    });
}

#[test]
fn thousands_of_rules_are_read_at_once() {
    const RULES: usize = 5000;
    fresh(|| {
        let rule = |at: usize| {
            let (high, low) = (at / 256, at % 256);
            format!(
                "-A FORWARD -s 10.0.{high}.{low}/32 -m physdev --physdev-in tap{at} -p tcp -m tcp --dport 25 -j DROP\n"
            )
        };
        let rules: String = (0..RULES).map(rule).collect();
        let mut command = Command::new("iptables-legacy-restore");
        command.env("XTABLES_LOCKFILE", "/dev/null").stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => skip!("iptables-legacy-restore: {error}"),
        };
        let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n{rules}COMMIT\n");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        if !child.wait().unwrap().success() {
            skip!("iptables-legacy-restore refuses the rules");
        }
        let before = Instant::now();
        let tables = legacy_tables(LegacyFamily::Iptables);
        let took = before.elapsed();
        let chains = tables[0].chains.read().unwrap();
        assert_eq!(chains.iter().map(|chain| chain.rules.len()).sum::<usize>(), RULES);
        println!("{RULES} rules: {took:?} with everything else of the namespace");
        // Without optimization, on an emulated processor too.
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}
