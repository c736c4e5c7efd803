//! What the kernel writes for each freed packet, in the words of each version; the versions are told in the tests. Pure:
//! lines in, [`Dropped`] out.

use portcullis_snapshot::EtherType;

use super::Dropped;

/// Functions that free packets for others, and those of tracing itself: a stack begins with them.
const NOT_THE_PLACE: &[&str] =
    &["trace_", "__trace", "__bpf_trace", "perf_trace", "kfree_skb", "__kfree_skb", "sk_skb_reason_drop"];

/// Reads a trace line by line. A stack may follow each event; where the event tells no symbol, the stack does.
#[derive(Debug, Default)]
pub(super) struct Reader {
    drops: Vec<Dropped>,
    /// For each drop, the processor that told it, until its stack came.
    awaits_stack: Vec<Option<u32>>,
    /// The drop that the frames to come belong to, until its place is found.
    stack_of: Option<usize>,
}

impl Reader {
    /// Takes one line. One that says nothing known becomes a drop whose place is the line: that packets were lost from
    /// the trace (`CPU:0 [LOST 3 EVENTS]`) is seen this way.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(frame) = line.strip_prefix(" => ") {
            self.read_frame(frame.trim());
        } else if line.ends_with("<stack trace>") {
            // Interrupts nest, so that the last one of a processor without a stack is the one whose stack comes first.
            let processor = processor(line);
            self.stack_of = self.awaits_stack.iter().rposition(|of| of.is_some() && *of == processor);
            if let Some(awaits) = self.stack_of.and_then(|at| self.awaits_stack.get_mut(at)) {
                *awaits = None;
            }
        } else if !line.trim().is_empty() {
            let unknown =
                || Dropped { location: line.trim().to_owned(), protocol: EtherType(0), reason: None };
            self.awaits_stack.push(processor(line));
            self.drops.push(event(line).unwrap_or_else(unknown));
        }
    }

    fn read_frame(&mut self, frame: &str) {
        if NOT_THE_PLACE.iter().any(|start| frame.starts_with(start)) {
            return;
        }
        if let Some(dropped) = self.stack_of.take().and_then(|at| self.drops.get_mut(at))
            && dropped.function().is_none()
        {
            frame.clone_into(&mut dropped.location);
        }
    }

    /// Returns what was read.
    pub(super) fn finish(self) -> Vec<Dropped> {
        self.drops
    }
}

/// Reads the line of an event, whose fields differ from version to version in number and order.
fn event(line: &str) -> Option<Dropped> {
    let (_, fields) = line.rsplit_once(" kfree_skb: ")?;
    let (_, protocol) = fields.split_once("protocol=")?;
    let protocol = protocol.split(' ').next()?.parse().ok()?;
    let (_, place) = fields.split_once("location=")?;
    let (location, reason) = match place.split_once(" reason: ") {
        Some((location, reason)) => (location, Some(reason.trim().to_owned())),
        None => (place, None),
    };
    Some(Dropped { location: location.trim().to_owned(), protocol: EtherType(protocol), reason })
}

/// Reads the processor out of what stands before an event: `swapper/0-0       [001] ..s1.  4711.081542: `.
fn processor(line: &str) -> Option<u32> {
    let within = line.split(['[', ']']).nth(1)?;
    within.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Vec<(String, u16, Option<String>)> {
        let mut reader = Reader::default();
        lines.lines().for_each(|line| reader.read(line));
        reader.finish().into_iter().map(|drop| (drop.location, drop.protocol.0, drop.reason)).collect()
    }

    fn drop(location: &str, protocol: u16, reason: Option<&str>) -> (String, u16, Option<String>) {
        (location.to_owned(), protocol, reason.map(str::to_owned))
    }

    /// Hashed addresses, no reason, and functions of a module.
    const V5_10: &str = "\
         kernel_drops-71      [000] ..s1     4.118241: kfree_skb: skbaddr=00000000ecd4b18d protocol=34997 location=0000000032a57d15
         kernel_drops-71      [000] ..s1     4.118255: <stack trace>
 => trace_event_raw_event_kfree_skb+0x69/0xb0
 => kfree_skb+0x73/0xa0
 => br_handle_frame+0x1c1/0x3f0 [bridge]
 => __netif_receive_skb_core+0x2ea/0xf60
";

    #[test]
    fn a_stack_tells_the_place_where_an_address_does_not() {
        assert_eq!(read(V5_10), [drop("br_handle_frame+0x1c1/0x3f0 [bridge]", 0x88b5, None)]);
        let without = V5_10.lines().next().unwrap();
        assert_eq!(read(without), [drop("0000000032a57d15", 0x88b5, None)]);
    }

    #[test]
    fn version_6_1_tells_a_reason() {
        let lines = " kworker/0:2-55      [000] b.s1.    12.000001: kfree_skb: skbaddr=00000000ecd4b18d protocol=34525 location=0000000032a57d15 reason: NOT_SPECIFIED
 kworker/0:2-55      [000] b.s1.    12.000004: <stack trace>
 => kfree_skb_reason+0x87/0xf0
 => ip6_mc_input+0x15e/0x270
";
        assert_eq!(read(lines), [drop("ip6_mc_input+0x15e/0x270", 34525, Some("NOT_SPECIFIED"))]);
    }

    #[test]
    fn later_versions_tell_the_symbol() {
        let lines = "\
         python3-3501    [001] ..s1. 12198.315572: kfree_skb: skbaddr=0000000071a8a5d5 rx_sk=0000000000000000 protocol=34997 location=br_handle_frame+0xff/0x480 reason: MAC_INVALID_SOURCE
 a [b] kfree_skb: -7     [000] ..s1. 12198.315599: kfree_skb: skbaddr=0000000071a8a5d5 rx_sk=0000000000000000 protocol=2048 location=br_handle_frame_finish+0x1a2/0x4b0 [bridge] reason: 0x30001
";
        let second = drop("br_handle_frame_finish+0x1a2/0x4b0 [bridge]", 2048, Some("0x30001"));
        assert_eq!(
            read(lines),
            [drop("br_handle_frame+0xff/0x480", 0x88b5, Some("MAC_INVALID_SOURCE")), second]
        );
    }

    #[test]
    fn stacks_find_their_drops_among_processors_and_interrupts() {
        let event = |processor, protocol| {
            format!(
                " x-1 [{processor:03}] ..s1 1.0: kfree_skb: skbaddr=1 protocol={protocol} location=00000000ab\n"
            )
        };
        let stack = |processor, place| {
            format!(
                " x-1 [{processor:03}] ..s1 1.0: <stack trace>\n => kfree_skb+0x1/0x2\n => {place}+0x1/0x2\n"
            )
        };
        let lines = [
            event(0, 1),
            event(1, 2),
            event(0, 3),
            stack(0, "c"),
            stack(1, "b"),
            stack(0, "a"),
            stack(0, "d"),
        ];
        let places: Vec<String> = read(&lines.concat()).into_iter().map(|(place, ..)| place).collect();
        assert_eq!(places, ["a+0x1/0x2", "b+0x1/0x2", "c+0x1/0x2"]);
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        assert_eq!(
            read("CPU:1 [LOST 12 EVENTS]\n\n => nowhere\n"),
            [drop("CPU:1 [LOST 12 EVENTS]", 0, None)]
        );
        assert_eq!(read("a kfree_skb: protocol=x location=y").len(), 1);
    }
}
