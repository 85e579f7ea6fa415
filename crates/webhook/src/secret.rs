//! Signing secrets: shared with whoever reloads them, read anew by every delivery, never printed.
//!
//! A partner has one secret, and two while it changes from one to the other: then both sign, and the partner's side may switch at any
//! moment in between. Which of the two is the older is of no interest.

use std::{fmt, sync::Arc};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretSlice};

/// The libraries of *Standard Webhooks* differ in whether they want padding, so secrets are about with it and without.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What *Standard Webhooks* asks for: 192 to 512 bits.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;

/// One symmetric secret.
#[derive(Clone)]
pub struct SigningSecret(SecretSlice<u8>);

/// Why a text is not a signing secret. It never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("is empty")]
    Empty,
    #[error("is an asymmetric key (whsk_ or whpk_): a secret begins with whsec_")]
    Asymmetric,
    #[error("is not base64, with or without whsec_ before it")]
    NotBase64,
    #[error("is {0} bytes long: it must be {SHORTEST} to {LONGEST}")]
    Length(usize),
}

impl SigningSecret {
    /// Reads `whsec_<base64>` or the base64 alone. White space around it is not part of it.
    ///
    /// # Errors
    /// Not base64, or not 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        if text.starts_with("whsk_") || text.starts_with("whpk_") {
            return Err(InvalidSecret::Asymmetric);
        }
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        let bytes = SecretSlice::from(BASE64.decode(text).map_err(|_| InvalidSecret::NotBase64)?);
        match bytes.expose_secret().len() {
            SHORTEST..=LONGEST => Ok(Self(bytes)),
            length => Err(InvalidSecret::Length(length)),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// The one or two secrets of an endpoint. Clones share one cell: what is replaced through one of them is what the next delivery of
/// every clone is signed with.
#[derive(Clone)]
pub struct SigningSecrets(Arc<RwLock<Arc<[SigningSecret]>>>);

/// Why a text does not hold the secrets of an endpoint. It never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    #[error("holds no signing secret")]
    None,
    #[error("holds {0} signing secrets: one, or two while rotating, one a line")]
    TooMany(usize),
    #[error("holds the same signing secret twice")]
    Same,
    #[error("the signing secret in line {line} {why}")]
    Line { line: usize, why: InvalidSecret },
}

impl SigningSecrets {
    /// Reads a file's text: one secret, or two while rotating, one a line. Empty lines do not count.
    ///
    /// # Errors
    /// None, more than two, twice the same, or a line that is no secret.
    pub fn parse(text: &str) -> Result<Self, InvalidSecrets> {
        Ok(Self(Arc::new(RwLock::new(read(text)?))))
    }

    /// From now on `text` holds the secrets of every clone. After an error the old ones stay.
    ///
    /// # Errors
    /// As [`SigningSecrets::parse`].
    pub fn replace(&self, text: &str) -> Result<(), InvalidSecrets> {
        *self.0.write() = read(text)?;
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<[SigningSecret]> {
        self.0.read().clone()
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({})", self.current().len())
    }
}

fn read(text: &str) -> Result<Arc<[SigningSecret]>, InvalidSecrets> {
    let lines: Vec<_> = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).collect();
    if lines.len() > 2 {
        return Err(InvalidSecrets::TooMany(lines.len()));
    }
    let secret = |(text, line)| SigningSecret::parse(text).map_err(|why| InvalidSecrets::Line { line, why });
    let secrets: Arc<[SigningSecret]> = lines.into_iter().map(secret).collect::<Result<_, _>>()?;
    match &*secrets {
        [] => Err(InvalidSecrets::None),
        [one, two] if one.bytes() == two.bytes() => Err(InvalidSecrets::Same),
        _ => Ok(secrets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TWO: &str = "dGhlIHNlY29uZCBzZWNyZXQgb2YgYWNtZSBpcyBsb25nZXI=";

    #[test]
    fn a_secret_is_base64_of_24_to_64_bytes() {
        let of = |count: usize| BASE64.encode(vec![7; count]);
        let cases: &[(String, Result<usize, InvalidSecret>)] = &[
            (ONE.into(), Ok(24)),
            (ONE["whsec_".len()..].into(), Ok(24)),
            (format!(" {ONE}\r\n"), Ok(24)),
            (TWO.into(), Ok(35)),
            (TWO.trim_end_matches('=').into(), Ok(35)),
            (of(64), Ok(64)),
            (of(23), Err(InvalidSecret::Length(23))),
            (of(65), Err(InvalidSecret::Length(65))),
            (String::new(), Err(InvalidSecret::Empty)),
            ("whsec_".into(), Err(InvalidSecret::Empty)),
            ("whsec_not base64 at all, and long enough".into(), Err(InvalidSecret::NotBase64)),
            (format!("WHSEC_{}", of(24)), Err(InvalidSecret::NotBase64)),
            ("____________________________________".into(), Err(InvalidSecret::NotBase64)),
            (format!("whsk_{}", of(64)), Err(InvalidSecret::Asymmetric)),
            (format!("whpk_{}", of(32)), Err(InvalidSecret::Asymmetric)),
        ];
        for (text, expected) in cases {
            assert_eq!(SigningSecret::parse(text).map(|secret| secret.bytes().len()), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_holds_one_secret_or_two() {
        let long = "x".repeat(30);
        let cases: &[(String, Result<usize, InvalidSecrets>)] = &[
            (ONE.into(), Ok(1)),
            (format!("{ONE}\n"), Ok(1)),
            (format!("\n{ONE}\r\n\r\n{TWO}\r\n"), Ok(2)),
            (String::new(), Err(InvalidSecrets::None)),
            (" \n\n".into(), Err(InvalidSecrets::None)),
            (format!("{ONE}\n{}\n", &ONE["whsec_".len()..]), Err(InvalidSecrets::Same)),
            (format!("{ONE}\n{TWO}\n{ONE}"), Err(InvalidSecrets::TooMany(3))),
            (format!("{ONE}\n\n{long}!"), Err(InvalidSecrets::Line { line: 3, why: InvalidSecret::NotBase64 })),
        ];
        for (text, expected) in cases {
            assert_eq!(SigningSecrets::parse(text).map(|secrets| secrets.current().len()), *expected, "{text:?}");
        }
    }

    #[test]
    fn replaced_secrets_reach_every_clone_and_broken_ones_reach_none() {
        let secrets = SigningSecrets::parse(ONE).unwrap();
        let clone = secrets.clone();
        secrets.replace(&format!("{ONE}\n{TWO}")).unwrap();
        assert_eq!(clone.current().len(), 2);
        assert_eq!(clone.replace("topsecret\n"), Err(InvalidSecrets::Line { line: 1, why: InvalidSecret::NotBase64 }));
        assert_eq!(secrets.current().len(), 2);
    }

    #[test]
    fn a_secret_never_prints() {
        let (one, both) = (SigningSecret::parse(ONE).unwrap(), SigningSecrets::parse(&format!("{ONE}\n{TWO}")).unwrap());
        assert_eq!(format!("{one:?} {both:?}"), "SigningSecret(…) SigningSecrets(2)");
        for text in [&ONE[..20], "topsecret!", "whsk_topsecret", &format!("{ONE}\n{TWO}\n{ONE}")] {
            let error = SigningSecrets::parse(text).unwrap_err();
            let printed = format!("{error} {error:?}");
            assert!(!printed.contains("topsecret") && !printed.contains("MfKQ"), "{printed}");
        }
    }
}
