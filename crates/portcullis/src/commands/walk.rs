//! `portcullis walk`.

use std::fs;
use std::process::ExitCode;

use portcullis_datapath::{Concrete, Network, Trace, walk};
use portcullis_report::json::{self, WalkDocument};
use portcullis_report::text;
use portcullis_snapshot::Link;

use super::source::State;
use crate::arguments::{Format, WalkArguments};
use crate::builder;
use crate::failure::Failure;
use crate::output::print;
use crate::pcap::{self, PcapError};

pub(crate) fn run(arguments: &WalkArguments) -> Result<ExitCode, Failure> {
    let state = State::read(&arguments.source)?;
    let netns = state.netns_with(&arguments.from)?;
    let gone = || Failure::new(format!("there is no interface {:?}", arguments.from));
    let from = netns.link_named(&arguments.from).ok_or_else(gone)?;
    let network = Network::new(&state.snapshot, netns.id).ok_or_else(gone)?;
    let frames = frames(arguments, &network, from)?;
    let mut documents = Vec::with_capacity(frames.len());
    for (at, bytes) in frames.iter().enumerate() {
        let mut frame = Concrete::new(bytes).ok_or_else(|| {
            let (number, length) = (at + 1, bytes.len());
            Failure::new(format!("frame {number} has {length} bytes: an Ethernet header alone has 14"))
        })?;
        let walked = walk(&network, from.index, &mut frame, Trace::Steps);
        documents.push(WalkDocument::new(&network, from.index, &frame, &walked));
    }
    print(|mut out| {
        for (at, document) in documents.iter().enumerate() {
            match arguments.format {
                Format::Json => json::write(&mut out, document)?,
                Format::Text => {
                    if at > 0 {
                        writeln!(out)?;
                    }
                    text::walk(&mut out, document)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the frames that were asked for: typed, captured or made.
fn frames(arguments: &WalkArguments, network: &Network<'_>, from: &Link) -> Result<Vec<Vec<u8>>, Failure> {
    if let Some(hex) = &arguments.frame {
        return Ok(vec![bytes_of(hex)?]);
    }
    if let Some(path) = &arguments.pcap {
        let failure = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
        let bytes = fs::read(path).map_err(|error| failure(&error))?;
        return pcap::frames(&bytes).map_err(|error| match error {
            PcapError::Pcapng => failure(&error).hint("editcap -F pcap IN OUT turns it into one that is"),
            PcapError::Partial { .. } => failure(&error).hint("capture with tcpdump -s 0"),
            _ => failure(&error),
        });
    }
    match arguments.kind {
        Some(kind) => Ok(vec![builder::build(network, from, kind, &arguments.made)?]),
        None => Ok(Vec::new()),
    }
}

/// Reads hex, with or without spaces and colons.
fn bytes_of(text: &str) -> Result<Vec<u8>, Failure> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        match character.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if character.is_whitespace() || matches!(character, ':' | '-') => {}
            None => {
                let place = at + 1;
                return Err(Failure::new(format!(
                    "--frame: {character:?} at {place} is no hexadecimal digit"
                )));
            }
        }
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(Failure::new(format!("--frame: {} digits make no whole bytes", digits.len())));
    };
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_people_write_it() {
        for text in ["0180c200000e", "01:80:c2:00:00:0e", "0x0180 C200 000E"] {
            assert_eq!(bytes_of(text).unwrap(), [0x01, 0x80, 0xc2, 0, 0, 0x0e], "{text}");
        }
        assert!(bytes_of("0").is_err());
        assert!(bytes_of("zz").is_err());
    }
}
