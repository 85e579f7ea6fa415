//! What a person says about a review.

use clawback_domain::{ItemId, Money, SessionId, item::Item, purchase, sellback};

/// How a review shall end, as a person says it: exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub fulfilled_with: Option<Vec<ItemId>>,
    pub session: Option<SessionId>,
    pub sold: bool,
    /// Goes with `sold`.
    pub amount: Option<Money>,
    pub failed: bool,
    pub retry: bool,
}

/// The one thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It bought these.
    FulfilledWith(Vec<ItemId>),
    /// This is the upstream's session of it.
    Session(SessionId),
    /// For so much, or for what the price was just before.
    Sold(Option<Money>),
    Failed,
    Retry,
}

impl Wanted {
    /// # Errors
    /// None of them, or several.
    pub fn said(self) -> Result<Said, String> {
        if self.amount.is_some() && !self.sold {
            return Err("an amount goes with sold alone".into());
        }
        match (self.fulfilled_with, self.session, self.sold, self.failed, self.retry) {
            (Some(items), None, false, false, false) => Ok(Said::FulfilledWith(items)),
            (None, Some(session), false, false, false) => Ok(Said::Session(session)),
            (None, None, true, false, false) => Ok(Said::Sold(self.amount)),
            (None, None, false, true, false) => Ok(Said::Failed),
            (None, None, false, false, true) => Ok(Said::Retry),
            (..) => Err("say exactly one of fulfilled_with, session, sold, failed and retry".into()),
        }
    }
}

/// What a person says about a review, and why.
#[derive(Debug, Clone)]
pub struct Word {
    pub said: Said,
    pub by: String,
    pub why: String,
}

impl Word {
    /// Of a purchase.
    ///
    /// # Errors
    /// It makes sense of a sellback only.
    pub(super) fn of_purchase(&self) -> Result<purchase::Happened, &'static str> {
        let resolution = match &self.said {
            Said::FulfilledWith(items) => purchase::Resolution::FulfilledWith(items.iter().cloned().map(Item::bare).collect()),
            Said::Session(session) => purchase::Resolution::Session(session.clone()),
            Said::Failed => purchase::Resolution::Failed,
            Said::Retry => purchase::Resolution::Retry,
            Said::Sold(_) => return Err("a purchase sells nothing: it was fulfilled, has a session, or failed"),
        };
        Ok(purchase::Happened::Resolved { resolution, by: self.by.clone(), why: self.why.clone() })
    }

    /// Of a sellback.
    ///
    /// # Errors
    /// It makes sense of a purchase only.
    pub(super) fn of_sellback(&self) -> Result<sellback::Happened, &'static str> {
        let resolution = match &self.said {
            Said::Sold(amount) => sellback::Resolution::Sold(*amount),
            Said::Failed => sellback::Resolution::Failed,
            Said::Retry => sellback::Resolution::Retry,
            Said::FulfilledWith(_) | Said::Session(_) => return Err("a sellback buys nothing: it sold, or failed"),
        };
        Ok(sellback::Happened::Resolved { resolution, by: self.by.clone(), why: self.why.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_says_exactly_one_thing() {
        let items = || Some(vec![ItemId::new("i").unwrap()]);
        assert!(Wanted { fulfilled_with: items(), ..Wanted::default() }.said().is_ok());
        assert!(Wanted { failed: true, ..Wanted::default() }.said().is_ok());
        let amount = Some(Money::usd(1));
        assert_eq!(Wanted { sold: true, amount, ..Wanted::default() }.said(), Ok(Said::Sold(amount)));
        assert!(Wanted { failed: true, amount, ..Wanted::default() }.said().is_err());
        assert!(Wanted::default().said().is_err());
        assert!(Wanted { failed: true, retry: true, ..Wanted::default() }.said().is_err());
        assert!(Wanted { sold: true, failed: true, ..Wanted::default() }.said().is_err());
        assert!(Wanted { fulfilled_with: items(), failed: true, ..Wanted::default() }.said().is_err());
    }
}
