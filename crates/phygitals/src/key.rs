//! The API key: shared with whoever reloads it, read anew by every call, never printed.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use reqwest::header::HeaderValue;
use sha2::{Digest, Sha256};

/// An account's key. Clones share one cell, so that a key replaced through one of them is what the next call sends.
#[derive(Clone)]
pub struct ApiKey(Arc<RwLock<Secret>>);

struct Secret {
    header: HeaderValue,
    fingerprint: Arc<str>,
}

/// Why a text cannot be a key. It never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("the API key is empty")]
    Empty,
    #[error("the API key contains white space or a character that no HTTP header may carry")]
    Unsendable,
}

impl ApiKey {
    /// White space around the key is not part of it: files end in a newline.
    ///
    /// # Errors
    /// An empty key, or one that a header cannot carry.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        Ok(Self(Arc::new(RwLock::new(Secret::read(text)?))))
    }

    /// From now on `text` is the key of every clone. After an error the old one stays.
    ///
    /// # Errors
    /// As [`ApiKey::new`].
    pub fn replace(&self, text: &str) -> Result<(), InvalidKey> {
        *self.0.write() = Secret::read(text)?;
        Ok(())
    }

    /// The first 16 hexadecimal digits of the key's SHA-256: tells keys apart, and tells nothing else.
    pub fn fingerprint(&self) -> Arc<str> {
        self.0.read().fingerprint.clone()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.read().header.clone()
    }
}

impl Secret {
    fn read(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidKey::Unsendable);
        }
        let mut header = HeaderValue::from_str(text).map_err(|_| InvalidKey::Unsendable)?;
        header.set_sensitive(true);
        let digest = Sha256::digest(text.as_bytes());
        let fingerprint: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { header, fingerprint: fingerprint.into() })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_prints() {
        let key = ApiKey::new("sandbox-topsecret\n").unwrap();
        let printed = format!("{key:?} {:?} {}", key.header(), key.fingerprint());
        assert!(!printed.contains("topsecret"), "{printed}");
        assert_eq!(key.header().to_str().unwrap(), "sandbox-topsecret");
    }

    #[test]
    fn a_replaced_key_is_what_every_clone_sends() {
        let key = ApiKey::new("one").unwrap();
        let (clone, before) = (key.clone(), key.fingerprint());
        key.replace("two").unwrap();
        assert_eq!(clone.header(), "two");
        assert_ne!(clone.fingerprint(), before);
        assert_eq!(clone.replace(""), Err(InvalidKey::Empty));
        assert_eq!(key.header(), "two", "a bad key leaves the old one");
    }

    #[test]
    fn what_no_header_carries_is_no_key() {
        for text in ["", "  \n", "a\nb", "a b", "schlüssel", "a\0"] {
            assert!(ApiKey::new(text).is_err(), "{text:?}");
        }
    }
}
