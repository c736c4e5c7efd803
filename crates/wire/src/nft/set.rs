//! Sets, maps and their elements (`NFT_MSG_NEWSET`, `NFT_MSG_NEWSETELEM`), both ways.

use portcullis_snapshot::{NftData, NftElement, NftFamily, NftSet};

use super::expr::{put_be32, put_value, put_verdict, value, verdict_in};
use super::{NFGENMSG, family, message};
use crate::{Attribute, Attributes, Message, NLM_F_CREATE};

const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFT_SET_ELEM_CATCHALL: u32 = 2;

/// A set without its elements: its table's family and name, and itself.
#[must_use]
pub fn set(message: &[u8]) -> Option<(NftFamily, String, NftSet)> {
    let attributes = Attributes::after(message, NFGENMSG);
    let concat = attributes.get(9).and_then(|description| description.nested().get(2));
    let field = |field: Attribute<'_>| field.nested().get(1)?.be32();
    let set = NftSet {
        name: attributes.get(2)?.string(),
        flags: attributes.get(3).and_then(|flags| flags.be32()).unwrap_or_default(),
        key_len: attributes.get(5)?.be32()?,
        concat: concat.map(|fields| fields.nested().filter_map(field).collect()).unwrap_or_default(),
        elements: Vec::new(),
    };
    Some((family(message)?, attributes.get(1)?.string(), set))
}

/// Asks for the elements of a set.
#[must_use]
pub fn elements_request(of: NftFamily, table: &str, set: &str) -> Message {
    message(NFT_MSG_GETSETELEM, of).put_str(1, table).put_str(2, set)
}

/// Elements of a set, as one message of several may hold them; `None` if one of them does not say which keys it stands
/// for. A set with or without it would answer differently, and without a key it would look like the one for all others.
#[must_use]
pub fn elements(message: &[u8]) -> Option<Vec<NftElement>> {
    let list = Attributes::after(message, NFGENMSG).get(3);
    list.map_or_else(|| Some(Vec::new()), |list| list.nested().map(|item| element(&item.nested())).collect())
}

fn element(a: &Attributes<'_>) -> Option<NftElement> {
    let flags = a.get(3).and_then(|flags| flags.be32()).unwrap_or_default();
    let name = |expr: Attributes<'_>| expr.get(1).map(|name| name.string());
    let one = a.get(7).and_then(|expr| name(expr.nested()));
    let several = a.get(11).into_iter().flat_map(|list| list.nested());
    let data = a.get(2).and_then(|data| match verdict_in(data) {
        Some(verdict) => Some(NftData::Verdict(verdict)),
        None => value(data).map(NftData::Value),
    });
    let key = match a.get(1) {
        None if flags & NFT_SET_ELEM_CATCHALL != 0 => None,
        key => Some(value(key?)?),
    };
    let key_end = match a.get(10) {
        None => None,
        Some(end) => Some(value(end)?),
    };
    Some(NftElement {
        key,
        key_end,
        interval_end: flags & NFT_SET_ELEM_INTERVAL_END != 0,
        data: data.or_else(|| a.get(9).map(|object| NftData::Object(object.string()))),
        expires: a.get(5).is_some(),
        expressions: one.into_iter().chain(several.filter_map(|expr| name(expr.nested()))).collect(),
    })
}

/// Puts elements into the order of their keys; where an interval ends and the next begins, the end comes first. The
/// kernel tells them in the order of a tree or a hash.
pub fn sort(elements: &mut [NftElement]) {
    elements.sort_by(|one, other| {
        let key =
            |element: &NftElement| (element.key.clone(), !element.interval_end, element.key_end.clone());
        key(one).cmp(&key(other))
    });
}

/// Makes a set, empty. `id` names it within the batch.
#[must_use]
pub fn new_set(of: NftFamily, table: &str, set: &NftSet, id: u32) -> Message {
    let m = message(NFT_MSG_NEWSET, of).flags(NLM_F_CREATE).put_str(1, table).put_str(2, &set.name);
    let mut m = put_be32(put_be32(m, 3, set.flags), 5, set.key_len);
    // The types are for people; any number will do.
    m = put_be32(m, 4, 0);
    if set.has(NftSet::MAP) {
        const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
        let values = set.elements.iter().find_map(|element| match &element.data {
            Some(NftData::Value(value)) => u32::try_from(value.0.len()).ok(),
            _ => None,
        });
        m = match values {
            Some(len) => put_be32(put_be32(m, 6, 0), 7, len),
            None => put_be32(m, 6, NFT_DATA_VERDICT),
        };
    }
    if !set.concat.is_empty() {
        m = m.nest(9, |description| {
            description.nest(2, |fields| {
                set.concat.iter().fold(fields, |fields, len| fields.nest(1, |field| put_be32(field, 1, *len)))
            })
        });
    }
    put_be32(m, 10, id)
}

/// Puts a set's elements into it.
#[must_use]
pub fn new_elements(of: NftFamily, table: &str, set: &NftSet) -> Message {
    let m = message(NFT_MSG_NEWSETELEM, of).flags(NLM_F_CREATE).put_str(1, table).put_str(2, &set.name);
    m.nest(3, |list| {
        set.elements.iter().fold(list, |list, element| list.nest(1, |item| put_element(item, element)))
    })
}

fn put_element(mut m: Message, element: &NftElement) -> Message {
    if let Some(key) = &element.key {
        m = put_value(m, 1, key);
    }
    let mut flags = 0;
    if element.interval_end {
        flags |= NFT_SET_ELEM_INTERVAL_END;
    }
    if element.key.is_none() {
        flags |= NFT_SET_ELEM_CATCHALL;
    }
    if flags != 0 {
        m = put_be32(m, 3, flags);
    }
    if let Some(end) = &element.key_end {
        m = put_value(m, 10, end);
    }
    match &element.data {
        Some(NftData::Value(value)) => put_value(m, 2, value),
        Some(NftData::Verdict(verdict)) => put_verdict(m, 2, verdict),
        Some(NftData::Object(object)) => m.put_str(9, object),
        None => m,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_snapshot::{Bytes, NftVerdict};

    use super::*;
    use crate::Messages;

    /// Elements as the kernel sends them, each with attributes of its own.
    fn sent(items: &[&dyn Fn(Message) -> Message]) -> Option<Vec<NftElement>> {
        let m = Message::new(0, 0).header(&[7, 0, 0, 0]).put_str(1, "t").put_str(2, "s");
        let bytes = m.nest(3, |list| items.iter().fold(list, |list, item| list.nest(1, item))).finish(1);
        elements(Messages::new(&bytes).next().unwrap().payload)
    }

    fn key(m: Message, number: u16, byte: u8) -> Message {
        m.nest(number, |data| data.put(1, &[byte, 0]))
    }

    #[test]
    fn elements_with_everything_that_they_may_carry() {
        let ranged = |m| key(key(m, 1, 3), 10, 5);
        let all_others =
            |m| put_be32(m, 3, NFT_SET_ELEM_CATCHALL).nest(2, |d| d.nest(2, |v| put_be32(v, 1, 1)));
        let leaving = |m| key(m, 1, 6).put(4, &9u64.to_be_bytes()).put(5, &8u64.to_be_bytes());
        // A time of 0 is how a set with a time of its own tells that this one stays, since 6.12.
        let staying = |m| key(m, 1, 7).put(4, &0u64.to_be_bytes());
        let counted = |m| key(m, 1, 8).nest(7, |expr| expr.put_str(1, "counter"));
        let twice = |m| {
            key(m, 1, 9)
                .nest(11, |l| l.nest(1, |e| e.put_str(1, "counter")).nest(1, |e| e.put_str(1, "limit")))
        };
        let object = |m| key(m, 1, 10).put_str(9, "bytes");
        let mapped = |m| key(key(m, 1, 11), 2, 77);
        let found =
            sent(&[&ranged, &all_others, &leaving, &staying, &counted, &twice, &object, &mapped]).unwrap();
        let bytes = |byte| Some(Bytes(vec![byte, 0]));
        let blank = |byte| NftElement {
            key: bytes(byte),
            key_end: None,
            interval_end: false,
            data: None,
            expires: false,
            expressions: Vec::new(),
        };
        let expressions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = [
            NftElement { key_end: bytes(5), ..blank(3) },
            NftElement { key: None, data: Some(NftData::Verdict(NftVerdict::Accept)), ..blank(0) },
            NftElement { expires: true, ..blank(6) },
            blank(7),
            NftElement { expressions: expressions(&["counter"]), ..blank(8) },
            NftElement { expressions: expressions(&["counter", "limit"]), ..blank(9) },
            NftElement { data: Some(NftData::Object("bytes".to_owned())), ..blank(10) },
            NftElement { data: bytes(77).map(NftData::Value), ..blank(11) },
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_key_that_cannot_be_told_is_not_one_for_all_others() {
        let good = |m| key(m, 1, 3);
        assert_eq!(sent(&[&good, &|m| put_be32(m, 3, 0)]), None);
        assert_eq!(sent(&[&|m: Message| m.nest(1, |data| data.put_u8(9, 1))]), None);
        assert_eq!(sent(&[&|m: Message| good(m).nest(10, |data| data.put_u8(9, 1))]), None);
        assert_eq!(sent(&[]), Some(Vec::new()));
    }

    #[test]
    fn a_set_of_concatenations() {
        let be = |m, number, value| put_be32(m, number, value);
        let m = Message::new(0, 0).header(&[2, 0, 0, 0]).put_str(1, "t").put_str(2, "pairs");
        let m = be(be(be(m, 3, 4 | 128), 4, 0x245), 5, 12);
        let bytes = m
            .nest(9, |desc| {
                be(desc, 1, 64).nest(2, |list| list.nest(1, |f| be(f, 1, 6)).nest(1, |f| be(f, 1, 4)))
            })
            .finish(1);
        let (of, table, found) = set(Messages::new(&bytes).next().unwrap().payload).unwrap();
        assert_eq!((of, table.as_str(), found.name.as_str()), (NftFamily::Ip, "t", "pairs"));
        assert_eq!((found.flags, found.key_len, found.concat.as_slice()), (132, 12, &[6, 4][..]));
    }

    #[test]
    fn a_map_with_intervals_goes_out_and_comes_in() {
        let element = |key: u8, interval_end, data| NftElement {
            key: Some(Bytes(vec![10, 0, 0, key])),
            key_end: None,
            interval_end,
            data,
            expires: false,
            expressions: Vec::new(),
        };
        let drop = Some(NftData::Verdict(NftVerdict::Drop));
        let mut wanted = NftSet {
            name: "m".to_owned(),
            flags: NftSet::INTERVAL | NftSet::MAP,
            key_len: 4,
            concat: Vec::new(),
            elements: vec![element(9, true, None), element(9, false, drop.clone()), element(1, false, drop)],
        };
        let bytes = new_set(NftFamily::Bridge, "t", &wanted, 7).finish(1);
        let (of, table, mut found) = set(Messages::new(&bytes).next().unwrap().payload).unwrap();
        assert_eq!((of, table.as_str()), (NftFamily::Bridge, "t"));
        let bytes = new_elements(NftFamily::Bridge, "t", &wanted).finish(1);
        found.elements = elements(Messages::new(&bytes).next().unwrap().payload).unwrap();
        assert_eq!(found, wanted);
        sort(&mut wanted.elements);
        let order: Vec<_> =
            wanted.elements.iter().map(|e| (e.key.as_ref().unwrap().0[3], e.interval_end)).collect();
        assert_eq!(order, [(1, false), (9, true), (9, false)]);
    }
}
