//! The account of promiscuity against the kernel's own count: each way to make a device promiscuous, alone and mixed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{PacketSocket, Promiscuous};
use portcullis_kernel::{Change, Error};
use portcullis_snapshot::promiscuity::{HeldBy, Promiscuity, Unaccounted, account, account_among};
use portcullis_snapshot::{EtherType, IfIndex, LinkFlags, MacAddr, Snapshot};

/// Devices in the calling thread's namespace.
struct Lab {
    route: Socket,
}

impl Lab {
    fn new() -> Self {
        Self { route: Socket::open(Family::Route).unwrap() }
    }

    fn make(&mut self, change: Change) {
        change.apply(&mut self.route).unwrap();
    }

    fn try_to(&mut self, change: Change) -> Result<(), Error> {
        change.apply(&mut self.route)
    }

    fn index(&mut self, name: &str) -> IfIndex {
        link::index_of(&mut self.route, name).unwrap()
    }

    fn add(&mut self, new: Change, name: &str) -> IfIndex {
        self.make(new);
        let index = self.index(name);
        self.make(link::up(index));
        index
    }

    fn bridge(&mut self) -> IfIndex {
        self.add(NewLink::new("br0", "bridge").create(|data| data), "br0")
    }

    fn veth(&mut self, name: &str, peer: &str) -> (IfIndex, IfIndex) {
        let pair = NewLink::new(name, "veth").veth(peer, mac(name.as_bytes()[1]), None);
        let first = self.add(pair, name);
        let second = self.index(peer);
        self.make(link::up(second));
        (first, second)
    }

    fn macvlan(&mut self, name: &str, on: IfIndex, mode: u32) -> Result<IfIndex, Error> {
        self.try_to(NewLink::new(name, "macvlan").on(on).macvlan(mode))?;
        let index = self.index(name);
        self.make(link::up(index));
        Ok(index)
    }

    fn promisc(&mut self, device: IfIndex, on: bool) {
        self.make(link::flags(device, if on { LinkFlags::PROMISC } else { 0 }, LinkFlags::PROMISC));
    }
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, last])
}

fn snapshot() -> Snapshot {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    capture(&request).unwrap()
}

fn account_of(device: IfIndex) -> Promiscuity {
    let snapshot = snapshot();
    let netns = &snapshot.namespaces[0];
    account(netns, netns.link(device).unwrap())
}

/// The holders of a device, shortened; and that they add up to the kernel's count.
fn holders(device: IfIndex) -> Vec<&'static str> {
    let found = account_of(device);
    let count = u32::try_from(found.holders.len()).unwrap();
    assert_eq!(found.count, Some(count), "{found:#?}");
    assert_eq!(found.unaccounted, Unaccounted::Between { min: 0, max: 0 }, "{found:#?}");
    let short = |who: &HeldBy| match who {
        HeldBy::Administrator => "user",
        HeldBy::PacketSocket { .. } => "socket",
        HeldBy::Bridge(_) => "bridge",
        HeldBy::OpenVswitch => "ovs",
        HeldBy::Master(_) => "master",
        HeldBy::Passthru(_) => "passthru",
        HeldBy::PromiscuousUpper(_) => "upper",
        HeldBy::SecondAddresses(_) => "addresses",
    };
    found.holders.iter().map(|holder| short(&holder.who)).collect()
}

fn fresh(test: impl FnOnce() + Send) {
    portcullis_testnet::fresh(test);
}

#[test]
fn a_user_a_socket_and_a_macvlan_on_a_bridge() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        assert_eq!(holders(br0), [""; 0]);
        lab.promisc(br0, true);
        assert_eq!(holders(br0), ["user"]);
        let socket = PacketSocket::open(br0, Promiscuous::Yes).unwrap();
        let quiet = PacketSocket::open(br0, Promiscuous::No).unwrap();
        assert_eq!(holders(br0), ["user", "socket"]);
        let above = lab.macvlan("above", br0, 4).unwrap();
        assert_eq!(holders(br0), ["user", "socket", "addresses"]);
        let second = lab.macvlan("second", br0, 4).unwrap();
        assert_eq!(holders(br0), ["user", "socket", "addresses"], "addresses count once");
        lab.promisc(above, true);
        assert_eq!(holders(br0), ["user", "socket", "upper", "addresses"]);
        drop(socket);
        lab.promisc(br0, false);
        lab.make(link::delete(above));
        assert_eq!(holders(br0), ["addresses"]);
        lab.make(link::delete(second));
        assert_eq!(holders(br0), [""; 0]);
        drop(quiet);
    });
}

#[test]
fn a_socket_is_told_with_its_process() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let _socket = PacketSocket::open(br0, Promiscuous::Yes).unwrap();
        let found = account_of(br0);
        let [holder] = found.holders.as_slice() else { panic!("{found:#?}") };
        let HeldBy::PacketSocket { processes, .. } = &holder.who else { panic!("{holder:#?}") };
        assert!(processes.iter().any(|process| process.pid == std::process::id()), "{processes:#?}");
    });
}

#[test]
fn an_address_is_told_with_the_device_it_is_of() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let above = lab.macvlan("above", br0, 4).unwrap();
        let own = link::FdbChange {
            device: br0,
            address: mac(0x77),
            vlan: None,
            state: link::NUD_PERMANENT,
            flags: link::NTF_SELF,
        };
        let found = account_of(br0);
        let [holder] = found.holders.as_slice() else { panic!("{found:#?}") };
        let HeldBy::SecondAddresses(list) = &holder.who else { panic!("{holder:#?}") };
        let upper = list[0].upper.as_ref().unwrap();
        assert_eq!((list.len(), upper.index, upper.name.as_str()), (1, above, "above"));
        // On a bridge this is an entry of the bridge's FDB and no second address.
        lab.make(own.add());
        lab.make(link::delete(above));
        assert_eq!(holders(br0), [""; 0]);
    });
}

#[test]
fn a_static_address_on_a_device_that_is_no_bridge() {
    fresh(|| {
        let mut lab = Lab::new();
        let (veth, _) = lab.veth("v1", "w1");
        let own = link::FdbChange {
            device: veth,
            address: mac(0x77),
            vlan: None,
            state: link::NUD_PERMANENT,
            flags: link::NTF_SELF,
        };
        lab.make(own.add());
        assert_eq!(holders(veth), ["addresses"]);
        lab.make(own.delete());
        assert_eq!(holders(veth), [""; 0]);
    });
}

#[test]
fn ports_of_a_bridge() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let (port, peer) = lab.veth("v1", "w1");
        lab.make(link::master(port, Some(br0)));
        assert_eq!((holders(port), holders(peer)), (vec!["bridge"], vec![]));
        let _socket = PacketSocket::open(port, Promiscuous::Yes).unwrap();
        assert_eq!(holders(port), ["socket", "bridge"]);
        lab.make(link::master(port, None));
        assert_eq!(holders(port), ["socket"]);
    });
}

#[test]
fn macvlans_of_every_mode() {
    fresh(|| {
        let mut lab = Lab::new();
        let (veth, _) = lab.veth("v1", "w1");
        for (mode, expected) in
            [(1, "addresses"), (2, "addresses"), (4, "addresses"), (8, "passthru"), (16, "addresses")]
        {
            let upper = lab.macvlan("above", veth, mode).unwrap();
            assert_eq!(holders(veth), [expected], "mode {mode}");
            lab.make(link::down(upper));
            assert_eq!(holders(veth), [""; 0], "mode {mode}, down");
            lab.make(link::delete(upper));
        }
    });
}

#[test]
fn a_passthru_device_in_another_namespace() {
    fresh(|| {
        let mut lab = Lab::new();
        let (veth, _) = lab.veth("v1", "w1");
        let away = Netns::create().unwrap();
        let above = lab.macvlan("above", veth, 8).unwrap();
        lab.make(link::move_to(above, std::os::fd::AsFd::as_fd(&away)));
        // Going away took it down.
        away.run(|| {
            let mut lab = Lab::new();
            let above = lab.index("above");
            lab.make(link::up(above));
        })
        .unwrap();
        let home = snapshot();
        let netns = &home.namespaces[0];
        let veth = netns.link(veth).unwrap();
        assert_eq!(account(netns, veth).unaccounted, Unaccounted::Between { min: 1, max: 1 });
        let there = away.run(snapshot).unwrap();
        let mut all = vec![netns.clone(), there.namespaces[0].clone()];
        // No process lives in these namespaces, so that their ids for each other could not be resolved.
        let home_id = netns.id;
        let portcullis_snapshot::Reading::Read(links) = &mut all[1].links else { panic!("unread") };
        let moved = links.iter_mut().find(|link| link.name == "above").unwrap();
        moved.link_netns.as_mut().unwrap().netns = Some(home_id);
        let found = account_among(&all, netns, veth);
        assert_eq!(found.unaccounted, Unaccounted::Between { min: 0, max: 0 }, "{found:#?}");
        assert!(matches!(&found.holders[0].who, HeldBy::Passthru(device) if device.name == "above"));
    });
}

#[test]
fn a_bridge_that_is_down_may_remember() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let above = lab.macvlan("above", br0, 4).unwrap();
        lab.make(link::down(br0));
        lab.make(link::delete(above));
        let found = account_of(br0);
        assert_eq!(found.count, Some(1), "the kernel looks at the list only while the device is up");
        assert_eq!(found.unaccounted, Unaccounted::Between { min: 0, max: 1 });
        lab.make(link::up(br0));
        assert_eq!(holders(br0), [""; 0]);
    });
}

#[test]
fn a_vlan_device_passes_it_on() {
    fresh(|| {
        let mut lab = Lab::new();
        let (lower, _) = lab.veth("v1", "w1");
        if let Err(error) = lab.try_to(NewLink::new("v1.5", "vlan").on(lower).vlan(EtherType::VLAN, 5)) {
            println!("skipped, because {error}");
            return;
        }
        let vlan = lab.index("v1.5");
        lab.make(link::up(vlan));
        assert_eq!(holders(lower), [""; 0], "an address that is the lower device's own adds nothing");
        lab.promisc(vlan, true);
        assert_eq!(holders(lower), ["upper"]);
        lab.promisc(vlan, false);
        lab.make(link::address(vlan, mac(0x55)));
        assert_eq!(holders(lower), ["addresses"]);
        lab.promisc(vlan, true);
        lab.make(link::down(vlan));
        let found = account_of(lower);
        let (count, most) = (found.count.unwrap() as usize, found.holders.len());
        assert!(count <= most && found.unaccounted.at_least() == 0, "{found:#?}");
    });
}

#[test]
fn a_bond_passes_it_on() {
    fresh(|| {
        let mut lab = Lab::new();
        let (first, _) = lab.veth("v1", "w1");
        let (second, _) = lab.veth("v2", "w2");
        // IFLA_BOND_MODE 1: active-backup.
        if let Err(error) = lab.try_to(NewLink::new("bond0", "bond").create(|data| data.put_u8(1, 1))) {
            println!("skipped, because {error}");
            return;
        }
        let bond = lab.index("bond0");
        for port in [first, second] {
            lab.make(link::down(port));
            lab.make(link::master(port, Some(bond)));
        }
        lab.make(link::up(bond));
        lab.promisc(bond, true);
        // Which of them is the active one depends on the order of events; that one alone is held.
        let mut both = [holders(first), holders(second)].concat();
        both.retain(|who| *who != "addresses");
        assert_eq!((both, holders(bond)), (vec!["master"], vec!["user"]));
    });
}

#[test]
fn a_filtering_bridge_and_a_port_that_filters() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let (lower, _) = lab.veth("v1", "w1");
        let (other, _) = lab.veth("v2", "w2");
        let filtering = link::bridge_option(br0, 7, &[1]);
        let vlan = NewLink::new("v1.5", "vlan").on(lower).vlan(EtherType::VLAN, 5);
        if let Err(error) = lab.try_to(filtering).and_then(|()| lab.try_to(vlan)) {
            println!("skipped, because {error}");
            return;
        }
        let port = lab.index("v1.5");
        lab.make(link::up(port));
        lab.make(link::master(port, Some(br0)));
        // br_fdb_sync_static: the bridge's static entries become addresses of the port, and so of its lower device.
        assert_eq!((holders(port), holders(lower)), (vec![], vec!["addresses"]), "the only automatic port");
        lab.make(link::master(other, Some(br0)));
        assert_eq!((holders(port), holders(lower)), (vec!["bridge"], vec!["upper"]));
        for option in [8, 9] {
            lab.make(link::port_option(other, option, &[0]));
        }
        assert_eq!(
            (holders(port), holders(other)),
            (vec![], vec!["bridge"]),
            "the other is not automatic now"
        );
        lab.promisc(br0, true);
        assert_eq!((holders(port), holders(br0)), (vec!["bridge"], vec!["user"]));
        lab.make(link::delete(port));
    });
}

/// Whatever is done to a handful of devices, the account explains the kernel's count: with every holder visible, the
/// certain ones are never too many, and all of them never too few.
#[test]
fn any_mixture_is_explained() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.bridge();
        let (a, peer) = lab.veth("v1", "w1");
        let (b, _) = lab.veth("v2", "w2");
        let devices = [br0, a, b, peer];
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut sockets: Vec<PacketSocket> = Vec::new();
        for step in 0..15 {
            let device = devices[dice.roll(devices.len())];
            let name = ["m0", "m1", "m2"][dice.roll(3)];
            // Refusals (a macvlan where there is a master, say) are steps too.
            let _ = match dice.roll(9) {
                0 => lab.try_to(link::flags(device, LinkFlags::PROMISC, LinkFlags::PROMISC)),
                1 => lab.try_to(link::flags(device, 0, LinkFlags::PROMISC)),
                2 => lab.macvlan(name, device, [1, 4, 8, 16][dice.roll(4)]).map(drop),
                3 => link::index_of(&mut lab.route, name).and_then(|index| lab.try_to(link::delete(index))),
                4 => {
                    let flag = if dice.roll(2) == 0 { LinkFlags::PROMISC } else { LinkFlags::UP };
                    let on = if dice.roll(2) == 0 { flag } else { 0 };
                    link::index_of(&mut lab.route, name)
                        .and_then(|index| lab.try_to(link::flags(index, on, flag)))
                }
                5 => PacketSocket::open(device, Promiscuous::Yes).map(|socket| sockets.push(socket)),
                6 => {
                    sockets.pop();
                    Ok(())
                }
                7 => lab.try_to(link::master(device, (dice.roll(2) == 0).then_some(br0))),
                _ => {
                    let on = if dice.roll(3) > 0 { LinkFlags::UP } else { 0 };
                    lab.try_to(link::flags(device, on, LinkFlags::UP))
                }
            };
            explained(step);
        }
    });
}

fn explained(step: usize) {
    let snapshot = snapshot();
    let netns = &snapshot.namespaces[0];
    for link in netns.links.known() {
        let found = account(netns, link);
        let certain = found.holders.iter().filter(|holder| holder.certain).count();
        let count = usize::try_from(found.count.unwrap()).unwrap();
        assert!(certain <= count && count <= found.holders.len(), "step {step}, {}: {found:#?}", link.name);
        assert_eq!(found.unaccounted.at_least(), 0);
    }
}

/// A generator that always rolls the same (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}
