//! Money as an integer of millionths with its currency. No float comes near it.
//!
//! The upstream sends prices as JSON numbers; their text is read as a decimal. What does not fit into millionths exactly is
//! unreadable rather than rounded: a wrong price is worse than none.

use std::fmt;

use rust_decimal::Decimal;

const MILLION: i64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Currency {
    /// The only currency the upstream knows.
    #[default]
    Usd,
}

impl Currency {
    /// ISO 4217.
    pub fn code(self) -> &'static str {
        match self {
            Currency::Usd => "USD",
        }
    }
}

/// An amount that adds only to its own kind. Millionths: 1 USD is 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    millionths: i64,
    currency: Currency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("is not a decimal number")]
    NotANumber,
    #[error("does not fit into millionths exactly")]
    DoesNotFit,
    #[error("is negative")]
    Negative,
}

impl Money {
    pub const fn usd(millionths: i64) -> Self {
        Self { millionths, currency: Currency::Usd }
    }

    pub const fn millionths(self) -> i64 {
        self.millionths
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Reads a decimal text or the text of a JSON number (`8.50`, `1e2`); never negative.
    ///
    /// # Errors
    /// What is not a number, is negative, or has more than six significant decimals or too many digits.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let exact = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        let decimal = exact.map_err(|error| match error {
            rust_decimal::Error::ErrorString(_) => MoneyError::NotANumber,
            _ => MoneyError::DoesNotFit,
        })?;
        if decimal.is_sign_negative() && !decimal.is_zero() {
            return Err(MoneyError::Negative);
        }
        let scaled = decimal.checked_mul(Decimal::from(MILLION)).ok_or(MoneyError::DoesNotFit)?.normalize();
        if scaled.scale() != 0 {
            return Err(MoneyError::DoesNotFit);
        }
        i64::try_from(scaled.mantissa()).map(Self::usd).map_err(|_| MoneyError::DoesNotFit)
    }

    /// `None` on overflow.
    pub fn checked_mul(self, times: u32) -> Option<Self> {
        Some(Self { millionths: self.millionths.checked_mul(times.into())?, currency: self.currency })
    }

    /// `None` on overflow or when the currencies differ.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        (self.currency == other.currency).then_some(())?;
        Some(Self { millionths: self.millionths.checked_add(other.millionths)?, currency: self.currency })
    }
}

/// The decimal string of the contract: at least two decimals, no more than needed (`8.50`, `0.000001`).
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.millionths < 0 { "-" } else { "" };
        let whole = self.millionths.unsigned_abs() / MILLION as u64;
        let mut part = self.millionths.unsigned_abs() % MILLION as u64;
        let mut width = 6;
        while width > 2 && part.is_multiple_of(10) {
            part /= 10;
            width -= 1;
        }
        write!(f, "{sign}{whole}.{part:0width$}")
    }
}

/// In JSON money is its decimal string; the currency stands in a field beside it.
impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse_usd(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Money {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]+\\.[0-9]{2,6}$" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        let cases: &[(&str, Result<i64, MoneyError>)] = &[
            ("8.50", Ok(8_500_000)),
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1e2", Ok(100_000_000)),
            ("1.5E-3", Ok(1_500)),
            ("0.000001", Ok(1)),
            ("8.5000000000", Ok(8_500_000)),
            ("0.0000001", Err(MoneyError::DoesNotFit)),
            ("9223372036854.775807", Ok(i64::MAX)),
            ("9223372036854.775808", Err(MoneyError::DoesNotFit)),
            ("-1", Err(MoneyError::Negative)),
            ("NaN", Err(MoneyError::NotANumber)),
            ("", Err(MoneyError::NotANumber)),
            ("1,5", Err(MoneyError::NotANumber)),
        ];
        for (text, expected) in cases {
            assert_eq!(Money::parse_usd(text).map(Money::millionths), *expected, "{text}");
        }
        for text in ["1e400", "1e-400", "0.12345678901234567890123456789012345"] {
            assert!(Money::parse_usd(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(millionths in 0..i64::MAX) {
            let money = Money::usd(millionths);
            prop_assert_eq!(Money::parse_usd(&money.to_string()), Ok(money));
        }
    }
}
