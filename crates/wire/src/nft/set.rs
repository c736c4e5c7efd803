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

/// Elements of a set, as one message of several may hold them.
#[must_use]
pub fn elements(message: &[u8]) -> Vec<NftElement> {
    let list = Attributes::after(message, NFGENMSG).get(3);
    list.map(|list| list.nested().map(|item| element(&item.nested())).collect()).unwrap_or_default()
}

fn element(a: &Attributes<'_>) -> NftElement {
    let flags = a.get(3).and_then(|flags| flags.be32()).unwrap_or_default();
    let name = |expr: Attributes<'_>| expr.get(1).map(|name| name.string());
    let one = a.get(7).and_then(|expr| name(expr.nested()));
    let several = a.get(11).into_iter().flat_map(|list| list.nested());
    let data = a.get(2).and_then(|data| match verdict_in(data) {
        Some(verdict) => Some(NftData::Verdict(verdict)),
        None => value(data).map(NftData::Value),
    });
    NftElement {
        key: a.get(1).and_then(value),
        key_end: a.get(10).and_then(value),
        interval_end: flags & NFT_SET_ELEM_INTERVAL_END != 0,
        data: data.or_else(|| a.get(9).map(|object| NftData::Object(object.string()))),
        expires: a.get(5).is_some(),
        expressions: one.into_iter().chain(several.filter_map(|expr| name(expr.nested()))).collect(),
    }
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
        found.elements = elements(Messages::new(&bytes).next().unwrap().payload);
        assert_eq!(found, wanted);
        sort(&mut wanted.elements);
        let order: Vec<_> =
            wanted.elements.iter().map(|e| (e.key.as_ref().unwrap().0[3], e.interval_end)).collect();
        assert_eq!(order, [(1, false), (9, true), (9, false)]);
    }
}
