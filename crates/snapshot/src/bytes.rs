//! Bytes that a document writes in hex.

use std::fmt;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes as the kernel holds them, written as hex digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(transparent)]
pub struct Bytes(#[schemars(with = "String")] pub Vec<u8>);

impl Bytes {
    /// Returns them as a number in network byte order; `None` if there are more than 16.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        let fold = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        (self.0.len() <= 16).then(|| self.0.iter().fold(0, fold))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// Bytes of somebody else's, to be shown as hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: there is a frame with each of many findings, and `{:02x}` takes ten times as long.
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
        for some in self.0.chunks(32) {
            let mut text = [0; 64];
            for (pair, byte) in text.chunks_exact_mut(2).zip(some) {
                pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
            }
            let text = text.get(..2 * some.len()).and_then(|text| str::from_utf8(text).ok());
            f.write_str(text.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not an even number of hex digits")))
    }
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_out_and_comes_in() {
        let bytes = Bytes(vec![0, 0x1f, 0xff]);
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(text, "\"001fff\"");
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert_eq!(bytes.number(), Some(0x1fff));
        let long: Vec<u8> = (0..=255).collect();
        assert_eq!(Hex(&long).to_string(), long.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }

    #[test]
    fn what_is_not_hex_is_refused() {
        for text in ["\"0\"", "\"0g\"", "\"+1\"", "\"é\""] {
            assert!(serde_json::from_str::<Bytes>(text).is_err(), "{text}");
        }
    }
}
