//! What *Standard Webhooks* signs and how: HMAC-SHA256 over `id.timestamp.body`, a signature for every secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Delivery, SigningSecret, SigningSecrets};

/// The headers of a delivery, as they go over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: String,
    /// `webhook-signature`: `v1,<base64>` for each secret, separated by a space.
    pub signature: String,
}

impl Signed {
    pub(crate) fn new(delivery: &Delivery, secrets: &SigningSecrets) -> Self {
        let (id, timestamp) = (delivery.id.to_string(), delivery.timestamp.timestamp().to_string());
        let signatures: Vec<_> =
            secrets.current().iter().map(|secret| signature(secret, &id, &timestamp, &delivery.body)).collect();
        Self { signature: signatures.join(" "), id, timestamp }
    }
}

fn signature(secret: &SigningSecret, id: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of *Standard Webhooks* are tested with.
    #[test]
    fn the_known_answer_is_ours() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_secret_signs_and_the_timestamp_is_in_whole_seconds() {
        let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let two = "whsec_dGhlIHNlY29uZCBzZWNyZXQgb2YgYWNtZSBpcyBsb25nZXI=";
        let delivery = Delivery {
            id: "d20108d0-d642-53c7-8804-e2c13a7d4c0a".parse().unwrap(),
            body: "{}".into(),
            timestamp: "2026-08-01T12:00:00.999999Z".parse().unwrap(),
        };
        let with = |secrets: &str| Signed::new(&delivery, &SigningSecrets::parse(secrets).unwrap());
        let both = with(&format!("{one}\n{two}"));
        assert_eq!((both.id.as_str(), both.timestamp.as_str()), ("d20108d0-d642-53c7-8804-e2c13a7d4c0a", "1785585600"));
        assert_eq!(both.signature, format!("{} {}", with(one).signature, with(two).signature));
    }
}
