//! An inventory, read as a stream.
//!
//! It has no paging, so it may be long. It is never held whole: the elements of `items` are cut out as they arrive and parsed one by
//! one, and a `0` is left in the place of each. What remains is a small document that a JSON reader checks at the end, with as many
//! zeros as elements were cut. So the look is good only if the whole was valid JSON, although nobody ever saw the whole.
//!
//! One element that cannot be read spoils the look. Leaving it out would make an item seem gone, and absence is evidence here.

use clawback_domain::{UserId, answer::Inventory, item::HeldItem};
use serde::{Deserialize, de::IgnoredAny};

use crate::item::WireHeldItem;

/// Some fifty thousand items. A user with more cannot be looked at, and is reported as such.
pub(crate) const LARGEST_INVENTORY: usize = 64 * 1024 * 1024;

/// Reads an inventory chunk by chunk.
#[derive(Default)]
pub(crate) struct InventoryReader {
    /// Everything but the elements of `items`.
    frame: Vec<u8>,
    element: Vec<u8>,
    items: Vec<HeldItem>,
    read: usize,
    depth: usize,
    in_items: bool,
    in_text: bool,
    escaped: bool,
}

/// The depth of the elements: inside the document's object and the list.
const ELEMENTS: usize = 2;

impl InventoryReader {
    /// # Errors
    /// A sentence: the inventory is too long, or an element is not an item. Reading on is of no use then.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.read += chunk.len();
        if self.read > LARGEST_INVENTORY {
            return Err(format!("the inventory is longer than {LARGEST_INVENTORY} bytes"));
        }
        chunk.iter().try_for_each(|&byte| self.byte(byte))
    }

    /// # Errors
    /// A sentence: what was read is not an inventory of `user`.
    pub(crate) fn finish(self, user: &UserId) -> Result<Inventory, String> {
        #[derive(Deserialize)]
        struct Frame {
            user_id: String,
            items: Vec<IgnoredAny>,
        }
        let frame: Frame = serde_json::from_slice(&self.frame).map_err(|error| error.to_string())?;
        if frame.user_id != user.as_str() {
            return Err("it is the inventory of another user".into());
        }
        if frame.items.len() != self.items.len() {
            return Err("its items could not be told apart".into());
        }
        Ok(Inventory { user_id: user.clone(), items: self.items, upstream_time: None })
    }

    fn byte(&mut self, byte: u8) -> Result<(), String> {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            self.keep(byte);
            return Ok(());
        }
        if self.in_items && self.depth == ELEMENTS && matches!(byte, b',' | b']') {
            self.cut()?;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => {
                self.in_items |= byte == b'[' && self.depth + 1 == ELEMENTS && ends_in_items_key(&self.frame);
                self.depth += 1;
                if self.in_items && self.depth == ELEMENTS {
                    self.frame.push(byte);
                    return Ok(());
                }
            }
            b'}' | b']' => self.depth = self.depth.checked_sub(1).ok_or("a bracket closes that never opened")?,
            _ => {}
        }
        self.in_items &= self.depth >= ELEMENTS;
        self.keep(byte);
        Ok(())
    }

    fn keep(&mut self, byte: u8) {
        // A comma between elements belongs to the frame, as the brackets around them do.
        let between = self.depth == ELEMENTS && byte == b',' && !self.in_text;
        if self.in_items && !between { self.element.push(byte) } else { self.frame.push(byte) }
    }

    fn cut(&mut self) -> Result<(), String> {
        if self.element.trim_ascii().is_empty() {
            self.element.clear();
            return Ok(());
        }
        let WireHeldItem(item) =
            serde_json::from_slice(&self.element).map_err(|error| format!("item {}: {error}", self.items.len()))?;
        self.items.push(item);
        self.element.clear();
        self.frame.push(b'0');
        Ok(())
    }
}

/// Whether the next value is that of a key `items`. The byte before the key tells it from the end of a longer one.
fn ends_in_items_key(frame: &[u8]) -> bool {
    let key = |frame: &[u8]| {
        let before = frame.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"items\"")?;
        before.trim_ascii_end().last().copied()
    };
    matches!(key(frame), Some(b'{' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], chunk: usize) -> Result<Inventory, String> {
        let mut reader = InventoryReader::default();
        text.chunks(chunk).try_for_each(|chunk| reader.push(chunk))?;
        reader.finish(&UserId::new("u").unwrap())
    }

    #[test]
    fn chunks_may_break_anywhere() {
        let text = r#" {"extra":["items",{"items":[1,2]}],"key \"items":[3], "items" : [ {"id":"a,]\"}\\","x":[1,{"y":[]}]} ,
            {"id":"ü","claw_id":"p","purchased_at":"2026-08-01T00:00:00Z"},{"id":"a,]\"}\\"}],"user_id":"\u0075","more":{"items":[]}} "#;
        for chunk in 1..text.len() {
            let inventory = read(text.as_bytes(), chunk).unwrap();
            let ids: Vec<_> = inventory.items.iter().map(|held| held.item.item_id.as_str()).collect();
            assert_eq!(ids, ["a,]\"}\\", "ü", "a,]\"}\\"], "in chunks of {chunk}");
        }
    }

    #[test]
    fn an_empty_inventory_is_a_good_look() {
        assert_eq!(read(br#"{"user_id":"u","items":[]}"#, 5).unwrap().items, []);
        assert_eq!(read(br#"{"items":[ ],"user_id":"u"}"#, 5).unwrap().items, []);
    }

    #[test]
    fn whatever_is_not_a_whole_inventory_of_this_user_is_no_look() {
        let deep = format!(r#"{{"user_id":"u","items":[{{"id":"a","x":{}}}]}}"#, "[".repeat(10_000));
        let cases: &[&str] = &[
            "",
            "null",
            "[]",
            "<html></html>",
            r#"{"user_id":"u"}"#,
            r#"{"items":[]}"#,
            r#"{"user_id":null,"items":[]}"#,
            r#"{"user_id":"v","items":[]}"#,
            r#"{"user_id":"U","items":[]}"#,
            r#"{"user_id":"u","items":null}"#,
            r#"{"user_id":"u","items":{}}"#,
            r#"{"user_id":"u","items":[{"id":"a"}]"#,
            r#"{"user_id":"u","items":[{"id":"a"}"#,
            r#"{"user_id":"u","items":[{"id":"a"},]}"#,
            r#"{"user_id":"u","items":[,{"id":"a"}]}"#,
            r#"{"user_id":"u","items":[{"id":"a"} {"id":"b"}]}"#,
            r#"{"user_id":"u","items":[{"id":"a"}}]}"#,
            r#"{"user_id":"u","items":[{"id":"a"]]}"#,
            r#"{"user_id":"u","items":[{"id":7}]}"#,
            r#"{"user_id":"u","items":["a"]}"#,
            r#"{"user_id":"u","items":[{"id":"a","buyback_expires_at":"soon"}]}"#,
            r#"{"user_id":"u","items":[{"id":"a"}],"items":[]}"#,
            r#"{"user_id":"u","items":[],"user_id":"u"}"#,
            r#"{"user_id":"u","\u0069tems":[{"id":"a"}]}"#,
            r#"{"user_id":"u","items":[]}}"#,
            r#"{"user_id":"u","items":[]} x"#,
            r#"]"#,
            &deep,
        ];
        for text in cases {
            for chunk in [1, 7, 1 << 20] {
                assert!(read(text.as_bytes(), chunk).is_err(), "{text:.80}");
            }
        }
    }

    #[test]
    fn it_stops_at_its_bound() {
        let mut reader = InventoryReader::default();
        reader.push(br#"{"items":[""#).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        let read = (0..1000).take_while(|_| reader.push(&chunk).is_ok()).count();
        assert_eq!(read, 63);
    }
}
