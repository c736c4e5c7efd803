//! Frames of a capture file in the classic pcap format. Pure: bytes in, frames out.

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PcapError {
    #[error("it is a pcapng file, which is not read here")]
    Pcapng,
    #[error("it is not a pcap file (it begins with {0})")]
    NotPcap(String),
    #[error("its frames are not Ethernet (link type {0})")]
    NotEthernet(u32),
    #[error("it ends within {0}")]
    Cut(String),
    #[error("frame {number} was captured in part: {captured} of {original} bytes")]
    Partial { number: usize, captured: u32, original: u32 },
    #[error("frame {number} claims {length} bytes, more than any frame has")]
    TooLong { number: usize, length: u32 },
}

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
/// Set in the link type if frames end with a check sequence, whose length in 16-bit words is in the top four bits.
const HAS_FCS: u32 = 0x0400_0000;
/// The largest snapshot length that libpcap knows (`MAXIMUM_SNAPLEN`).
const LONGEST: u32 = 262_144;

/// Returns the frames of a file, in order, without check sequences.
///
/// # Errors
/// If it is anything but a whole pcap file of whole Ethernet frames.
pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PcapError> {
    let mut file = File { bytes, number: order(bytes)? };
    file.take(20, "its header")?;
    let link_type = file.u32("its header")?;
    if link_type & 0x03ff_ffff != ETHERNET {
        return Err(PcapError::NotEthernet(link_type & 0x03ff_ffff));
    }
    let fcs = if link_type & HAS_FCS == 0 { 0 } else { (link_type >> 28) as usize * 2 };
    let mut frames = Vec::new();
    while !file.bytes.is_empty() {
        let number = frames.len() + 1;
        let place = format!("the header of frame {number}");
        file.take(8, &place)?;
        let (captured, original) = (file.u32(&place)?, file.u32(&place)?);
        if captured > LONGEST {
            return Err(PcapError::TooLong { number, length: captured });
        }
        if captured < original {
            return Err(PcapError::Partial { number, captured, original });
        }
        let frame = file.take(captured as usize, &format!("frame {number}"))?;
        frames.push(frame.get(..frame.len().saturating_sub(fcs)).unwrap_or_default().to_vec());
    }
    Ok(frames)
}

/// Returns a file of frames, each captured whole, at no time in particular.
pub(crate) fn file<'f>(frames: impl Iterator<Item = &'f [u8]>) -> Vec<u8> {
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    // Magic number, version 2.4, no time zone, no accuracy.
    let mut bytes = numbers(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, LONGEST, ETHERNET]);
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap_or(LONGEST);
        bytes.extend(numbers(&[0, 0, length, length]));
        bytes.extend(frame);
    }
    bytes
}

/// Tells from the magic number how the file's numbers are written. Times are of no interest.
fn order(bytes: &[u8]) -> Result<fn([u8; 4]) -> u32, PcapError> {
    let Some(magic) = bytes.first_chunk::<4>() else { return Err(PcapError::Cut("its header".to_owned())) };
    match magic {
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => Ok(u32::from_be_bytes),
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => Ok(u32::from_le_bytes),
        [0x0a, 0x0d, 0x0d, 0x0a] => Err(PcapError::Pcapng),
        [a, b, c, d] => Err(PcapError::NotPcap(format!("{a:02x}{b:02x}{c:02x}{d:02x}"))),
    }
}

/// What is left of a file.
struct File<'b> {
    bytes: &'b [u8],
    number: fn([u8; 4]) -> u32,
}

impl<'b> File<'b> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'b [u8], PcapError> {
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or_else(|| PcapError::Cut(what.to_owned()))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32, PcapError> {
        let bytes = self.take(4, what)?;
        bytes.first_chunk().map(|bytes| (self.number)(*bytes)).ok_or_else(|| PcapError::Cut(what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(number: fn(u32) -> [u8; 4], magic: u32, link_type: u32, frames: &[(&[u8], u32)]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [magic, 0x0002_0004, 0, 0, 65_535, link_type] {
            file.extend(number(word));
        }
        for (frame, original) in frames {
            for word in [0, 0, frame.len() as u32, *original] {
                file.extend(number(word));
            }
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn both_orders_and_both_clocks_are_read() {
        for number in [u32::to_be_bytes, u32::to_le_bytes] {
            for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
                let file = file(number, magic, 1, &[(b"one", 3), (b"three", 5)]);
                assert_eq!(frames(&file).unwrap(), [b"one".to_vec(), b"three".to_vec()]);
            }
        }
    }

    #[test]
    fn check_sequences_are_taken_off() {
        let file = file(u32::to_le_bytes, 0xa1b2_c3d4, 1 | HAS_FCS | 2 << 28, &[(b"framefcs!", 9)]);
        assert_eq!(frames(&file).unwrap(), [b"frame".to_vec()]);
    }

    #[test]
    fn what_is_of_no_use_says_why() {
        let of = |bytes: &[u8]| frames(bytes).unwrap_err().to_string();
        insta::assert_snapshot!(of(b""), @"it ends within its header");
        insta::assert_snapshot!(of(&[0x0a, 0x0d, 0x0d, 0x0a]), @"it is a pcapng file, which is not read here");
        insta::assert_snapshot!(of(b"{\"schema\""), @"it is not a pcap file (it begins with 7b227363)");
        let wifi = file(u32::to_be_bytes, 0xa1b2_c3d4, 105, &[]);
        insta::assert_snapshot!(of(&wifi), @"its frames are not Ethernet (link type 105)");
        let partial = file(u32::to_be_bytes, 0xa1b2_c3d4, 1, &[(b"abc", 60)]);
        insta::assert_snapshot!(of(&partial), @"frame 1 was captured in part: 3 of 60 bytes");
        let whole = file(u32::to_be_bytes, 0xa1b2_c3d4, 1, &[(b"abc", 3)]);
        insta::assert_snapshot!(of(&whole[..whole.len() - 1]), @"it ends within frame 1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), magic in 0..3_usize) {
            let magics = [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1], [0x0a, 0x0d, 0x0d, 0x0a]];
            bytes.splice(..bytes.len().min(4), magics[magic]);
            let _ = frames(&bytes);
        }

        #[test]
        fn frames_survive(list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8)) {
            let records: Vec<_> = list.iter().map(|frame| (frame.as_slice(), frame.len() as u32)).collect();
            prop_assert_eq!(frames(&file(u32::to_le_bytes, 0xa1b2_c3d4, 1, &records)).unwrap(), list);
        }
    }
}
