//! Making a frame readable without changing its length.
//!
//! Only two kinds of frames carry words of whoever published: `basic.deliver` and `basic.return` (exchange and routing key), and
//! content headers (the properties). In their texts each byte that is not UTF-8 becomes a question mark; a table that is nested too
//! deep, or not understood, becomes one that holds bytes without a meaning.

/// Type, channel and size before the payload, one byte after it.
const HEAD: usize = 7;
const TAIL: usize = 1;

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;

const BASIC: u16 = 60;
const RETURN: u16 = 50;
const DELIVER: u16 = 60;

/// `x-death`, the deepest table that is meant seriously, is a table in a list in a table.
const MAX_DEPTH: usize = 16;

/// A frame whose head has arrived.
pub(super) struct Frame {
    /// With head and tail.
    pub length: usize,
    pub needs_a_look: bool,
}

impl Frame {
    pub fn at(bytes: &[u8]) -> Option<Self> {
        let &[kind, _, _, a, b, c, d, ..] = bytes else { return None };
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        Some(Self { length: HEAD + size + TAIL, needs_a_look: matches!(kind, METHOD | CONTENT_HEADER) })
    }
}

/// `frame` is a whole one. What does not have the expected shape stays as it is: the library will say so.
pub(super) fn clean(frame: &mut [u8]) {
    let kind = frame[0];
    let end = frame.len() - TAIL;
    let mut payload = Bytes(&mut frame[HEAD..end]);
    let _ = match kind {
        METHOD => method(&mut payload),
        CONTENT_HEADER => content_header(&mut payload),
        _ => Some(()),
    };
}

fn method(payload: &mut Bytes<'_>) -> Option<()> {
    match (payload.u16()?, payload.u16()?) {
        (BASIC, DELIVER) => {
            payload.text()?; // consumer tag
            payload.skip(8 + 1)?; // delivery tag, redelivered
            payload.text()?;
            payload.text()
        }
        (BASIC, RETURN) => {
            payload.skip(2)?;
            payload.text()?;
            payload.text()?;
            payload.text()
        }
        _ => Some(()),
    }
}

/// Its properties in the order of their flags, from the highest bit down.
fn content_header(payload: &mut Bytes<'_>) -> Option<()> {
    if payload.u16()? != BASIC {
        return Some(());
    }
    payload.skip(2 + 8)?;
    let flags = payload.u16()?;
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        match bit {
            13 => headers(payload)?,
            12 | 11 => payload.skip(1)?, // delivery mode, priority
            6 => payload.skip(8)?,       // timestamp
            _ => payload.text()?,
        }
    }
    Some(())
}

fn headers(payload: &mut Bytes<'_>) -> Option<()> {
    let content = payload.long()?;
    if entries(&mut Bytes(content), MAX_DEPTH).is_none() {
        blank(content);
    }
    Some(())
}

/// `None`: nested too deep, or not understood.
fn entries(content: &mut Bytes<'_>, depth: usize) -> Option<()> {
    while !content.0.is_empty() {
        content.text()?;
        value(content, depth)?;
    }
    Some(())
}

fn value(content: &mut Bytes<'_>, depth: usize) -> Option<()> {
    match content.u8()? {
        b'V' => Some(()),
        b't' | b'b' | b'B' => content.skip(1),
        b's' | b'U' | b'u' => content.skip(2),
        b'I' | b'i' | b'f' => content.skip(4),
        b'D' => content.skip(5),
        b'l' | b'L' | b'd' | b'T' => content.skip(8),
        b'S' | b'x' => content.long().map(drop),
        b'F' => entries(&mut Bytes(content.long()?), depth.checked_sub(1)?),
        b'A' => {
            let mut list = Bytes(content.long()?);
            let depth = depth.checked_sub(1)?;
            while !list.0.is_empty() {
                value(&mut list, depth)?;
            }
            Some(())
        }
        _ => None,
    }
}

/// One entry of the same length: the key `?`, and the rest as bytes; or, too short for that, a key without a value.
fn blank(content: &mut [u8]) {
    let length = content.len();
    content.fill(b'?');
    if let Some(rest) = length.checked_sub(7) {
        content[0] = 1;
        content[2] = b'x';
        content[3..7].copy_from_slice(&(rest as u32).to_be_bytes());
    } else if let Some(key) = length.checked_sub(2) {
        content[0] = key as u8;
        content[length - 1] = b'V';
    }
}

/// What is left to look at.
struct Bytes<'a>(&'a mut [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn long(&mut self) -> Option<&'a mut [u8]> {
        let length = self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))?;
        self.take(length as usize)
    }

    /// A short string, made UTF-8.
    fn text(&mut self) -> Option<()> {
        let length = self.u8()?;
        let mut text = self.take(usize::from(length))?;
        while let Err(error) = std::str::from_utf8(text) {
            let from = error.valid_up_to();
            let to = error.error_len().map_or(text.len(), |length| from + length);
            text[from..to].fill(b'?');
            text = &mut text[to..];
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &[u8]) -> Vec<u8> {
        [&[text.len() as u8], text].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, 0, 1], &long(payload)[..], &[0xce]].concat()
    }

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        frame(CONTENT_HEADER, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], &flags.to_be_bytes()[..], properties].concat())
    }

    fn cleaned(mut frame: Vec<u8>) -> Vec<u8> {
        clean(&mut frame);
        frame
    }

    #[test]
    fn text_that_is_not_utf8_gets_question_marks_and_keeps_its_length() {
        let properties = |id: &[u8]| [short(b"application/json"), long(b""), vec![2], short(id), vec![0; 8]].concat();
        let flags = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6;
        let check = |id: &[u8], expected: &[u8]| {
            let frame = cleaned(header(flags, &properties(id)));
            assert_eq!(frame, header(flags, &properties(expected)), "{id:?}");
        };
        check("Zoë".as_bytes(), "Zoë".as_bytes());
        check(b"a\xffb\xfe", b"a?b?");
        check(b"\xe2\x82", b"??");
        check(b"", b"");
    }

    #[test]
    fn a_routing_key_that_is_not_utf8_is_made_readable() {
        let deliver = |key: &[u8]| {
            let method = [vec![0, 60, 0, 60], short(b"tag"), vec![0; 9], short(b"clawback.events"), short(key)];
            frame(METHOD, &method.concat())
        };
        assert_eq!(cleaned(deliver(b"acme.\xff")), deliver(b"acme.?"));
        let returned = |key: &[u8]| {
            let method = [vec![0, 60, 0, 50, 1, 56], short(b"NO_ROUTE"), short(b"x"), short(key)];
            frame(METHOD, &method.concat())
        };
        assert_eq!(cleaned(returned(b"\xffacme")), returned(b"?acme"));
        let ack = frame(METHOD, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(cleaned(ack.clone()), ack);
    }

    #[test]
    fn headers_are_kept_with_readable_names_unless_they_are_nested_too_deep() {
        let entry = |name: &[u8], kind: u8, value: &[u8]| [short(name), vec![kind], value.to_vec()].concat();
        let table = |entries: &[Vec<u8>]| header(1 << 13, &long(&entries.concat()));
        let list = long(&[vec![b'F'], long(&entry(b"count", b'l', &[0; 8]))].concat());
        let fine = [entry(b"traceparent", b'S', &long(b"00-ab")), entry(b"x-death", b'A', &list), entry(b"n", b'V', b"")];
        assert_eq!(cleaned(table(&fine)), table(&fine));
        assert_eq!(cleaned(table(&[entry(b"\xff", b't', &[1])])), table(&[entry(b"?", b't', &[1])]));

        let mut deep = entry(b"k", b'V', b"");
        for _ in 0..10_000 {
            deep = entry(b"k", b'F', &long(&deep));
        }
        let frame = cleaned(table(std::slice::from_ref(&deep)));
        let blank = entry(b"?", b'x', &long(&vec![b'?'; deep.len() - 7]));
        assert!(frame == table(&[blank]));
    }

    #[test]
    fn what_is_not_understood_becomes_a_table_without_meaning_of_any_length() {
        for length in 2..40 {
            let mut content = vec![0xff; length];
            blank(&mut content);
            assert_eq!(entries(&mut Bytes(&mut content), 0), Some(()), "{length}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut seed = 1_u32;
        for _ in 0..20_000 {
            let mut bytes = |limit: u32| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) % limit
            };
            let payload: Vec<u8> =
                (0..bytes(60)).map(|_| if bytes(3) == 0 { bytes(256) as u8 } else { bytes(9) as u8 }).collect();
            let before = [&[0, 60, 0, 60][..], &payload].concat();
            assert_eq!(cleaned(frame(METHOD, &before)).len(), frame(METHOD, &before).len());
            cleaned(header(bytes(65_536) as u16, &payload));
        }
    }
}
