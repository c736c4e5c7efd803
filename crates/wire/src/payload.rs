//! Payloads of single attributes as typed values, and the option tables expanded from their rows.

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{
    BoolOpts, BridgeOptions, EtherType, IfIndex, MacAddr, McastRouter, PortOptions, PortState, QuerierState,
    StpState, bridge_attributes, bridge_port_attributes,
};

use crate::attribute::u32_at;
use crate::{Attribute, Attributes};

/// A type that one attribute's payload decodes to; `None` if the bytes are too few.
pub(crate) trait Payload: Sized {
    fn decode(attribute: &Attribute<'_>) -> Option<Self>;
}

macro_rules! payload {
    ($($ty:ty: $attribute:ident => $value:expr;)*) => {
        $(impl Payload for $ty {
            fn decode($attribute: &Attribute<'_>) -> Option<Self> { $value }
        })*
    };
}

payload! {
    u8: attribute => attribute.u8();
    u16: attribute => attribute.u16();
    u32: attribute => attribute.u32();
    bool: attribute => attribute.u8().map(|value| value != 0);
    MacAddr: attribute => attribute.mac();
    EtherType: attribute => attribute.be16().map(EtherType);
    IfIndex: attribute => attribute.u32().map(IfIndex);
    PortState: attribute => attribute.u8().map(Into::into);
    McastRouter: attribute => attribute.u8().map(Into::into);
    StpState: attribute => attribute.u32().map(Into::into);
    BoolOpts: attribute => Some(BoolOpts { value: u32_at(attribute.payload, 0)?, mask: u32_at(attribute.payload, 4)? });
    QuerierState: attribute => Some(querier_state(attribute.nested()));
}

/// `BRIDGE_QUERIER_*` (linux/if_bridge.h).
fn querier_state(nest: Attributes<'_>) -> QuerierState {
    let mut state = QuerierState::default();
    for attribute in nest {
        match attribute.number {
            1 => state.ipv4_address = attribute.be32().map(Ipv4Addr::from),
            2 => state.ipv4_port = attribute.u32().map(IfIndex),
            3 => state.ipv4_other_timer = attribute.u64(),
            5 => state.ipv6_address = <[u8; 16]>::try_from(attribute.payload).ok().map(Ipv6Addr::from),
            6 => state.ipv6_port = attribute.u32().map(IfIndex),
            7 => state.ipv6_other_timer = attribute.u64(),
            _ => {}
        }
    }
    state
}

macro_rules! decoder {
    ($name:ident, $prefix:literal; $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $number:literal, $keyword:literal; )*) => {
        impl Options for $name {
            fn decode(nest: Attributes<'_>, passed_over: &[u16]) -> Self {
                let mut options = Self::default();
                for attribute in nest {
                    match attribute.number {
                        $( $number => match <$ty as Payload>::decode(&attribute) {
                            Some(value) => options.$field = Some(value),
                            None => options.unknown.push(attribute.unknown()),
                        }, )*
                        number if passed_over.contains(&number) => {}
                        _ => options.unknown.push(attribute.unknown()),
                    }
                }
                options
            }

            fn rows() -> Vec<(&'static str, u16, &'static str)> {
                vec![ $( (stringify!($field), $number, $keyword), )* ]
            }
        }
    };
}

/// A table of options that decodes from a nest. What has no row is kept.
pub(crate) trait Options {
    fn decode(nest: Attributes<'_>, passed_over: &[u16]) -> Self;

    /// Every row: field, number, keyword.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the tests that go through all rows"))]
    fn rows() -> Vec<(&'static str, u16, &'static str)>;
}

bridge_attributes!(decoder);
bridge_port_attributes!(decoder);

/// Timers, counters and ids of the spanning tree that decide nothing about a frame (`IFLA_BR_*`).
const BRIDGE_PASSED_OVER: &[u16] =
    &[10, 11, 15, 16, 17, 18, 19, 26, 28, 29, 30, 31, 32, 33, 34, 35, 40, 41, 42, 45];
/// The same of a port (`IFLA_BRPORT_*`).
const PORT_PASSED_OVER: &[u16] = &[11, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 26, 35, 36, 37, 38];

/// Decodes `IFLA_INFO_DATA` of a bridge.
pub(crate) fn bridge_options(nest: Attributes<'_>) -> BridgeOptions {
    Options::decode(nest, BRIDGE_PASSED_OVER)
}

/// Decodes `IFLA_INFO_SLAVE_DATA` of a bridge port.
pub(crate) fn port_options(nest: Attributes<'_>) -> PortOptions {
    Options::decode(nest, PORT_PASSED_OVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Messages};

    /// Attributes numbered 1 to 60, each eight bytes of ones, as a kernel of the future might send them.
    fn everything() -> Vec<u8> {
        (1..=60).fold(Message::new(0, 0), |message, number| message.put(number, &[1; 8])).finish(0)
    }

    #[test]
    fn every_row_decodes_and_the_rest_is_kept() {
        let bytes = everything();
        let nest = || Attributes::new(Messages::new(&bytes).next().unwrap().payload);
        let port = serde_json::to_value(port_options(nest())).unwrap();
        let bridge = serde_json::to_value(bridge_options(nest())).unwrap();
        for (field, _, _) in <PortOptions as Options>::rows() {
            assert!(!port[field].is_null(), "{field}");
        }
        // A MAC address of eight bytes is none, so that row alone stays with the unknown ones.
        for (field, number, _) in <BridgeOptions as Options>::rows() {
            assert!(!bridge[field].is_null() || number == 20, "{field}");
        }
        let kept: Vec<_> = port_options(nest()).unknown.iter().map(|attribute| attribute.number).collect();
        assert_eq!(kept, [24].into_iter().chain(45..=60).collect::<Vec<_>>());
    }

    #[test]
    fn no_number_has_two_rows() {
        let mut rows = <PortOptions as Options>::rows();
        rows.sort_by_key(|row| row.1);
        rows.dedup_by_key(|row| row.1);
        assert_eq!(rows.len(), <PortOptions as Options>::rows().len());
        assert!(rows.iter().all(|row| !PORT_PASSED_OVER.contains(&row.1)));
        assert!(<BridgeOptions as Options>::rows().iter().all(|row| !BRIDGE_PASSED_OVER.contains(&row.1)));
    }
}
