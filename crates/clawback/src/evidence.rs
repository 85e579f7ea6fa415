//! The evidence of a doubt in words, so that a support person can read it to a customer.

mod sale;

use clawback_domain::{
    Time,
    evidence::{Evidence, Found, Look, Rival, Standing},
};

use crate::output::{self, printable};

pub use sale::{look as sale_look, text as sale_text};

/// What one reading of the inventory showed.
pub fn look(look: &Look) -> String {
    if !look.good {
        return format!("proves nothing: {}", look.note);
    }
    let known = match look.missing {
        0 => "everything known before is there".into(),
        missing => format!("{missing} known before not shown, so that absence proves nothing"),
    };
    let ids: Vec<_> = look.unexplained.iter().map(|item| item.as_str()).collect();
    let listed = format!("{} listed; {known}; {}", look.listed, look.note);
    if ids.is_empty() { listed } else { format!("{listed}: {}", ids.join(", ")) }
}

/// The doubt, what every look showed, what speaks for the purchase, who else may have bought it, and the verdict.
pub fn text(evidence: &Evidence) -> String {
    let mut text = format!("the doubt: {}\n", printable(&evidence.doubt));
    if let Some(end) = evidence.window_ends_at {
        let (looked, proofs) = (evidence.looked, evidence.proofs);
        text.push_str(&format!(
            "looks: {looked}, of these {proofs} showed all they had to show; it may appear until {}\n",
            moment(end)
        ));
    }
    let row = |one: &Look| [one.at.format("%Y-%m-%d %H:%M:%S").to_string(), look(one)];
    text.push_str(&output::table(["looked at", "what the inventory showed"], evidence.looks.iter().map(row)));
    if !evidence.found.is_empty() {
        let heads = ["unexplained item", "count", "bought at", "first seen", "last seen"];
        text.push_str(&output::table(heads, evidence.found.iter().map(found_row)));
    }
    if !evidence.rivals.is_empty() {
        let heads = ["other purchase", "items", "called at", "stands"];
        text.push_str(&output::table(heads, evidence.rivals.iter().map(rival_row)));
    }
    text.push_str(&format!("the verdict: {}\n", printable(&evidence.verdict)));
    text
}

fn found_row(found: &Found) -> [String; 5] {
    let bought = found.purchased_at.map_or_else(|| "not told".into(), moment);
    let (first, last) = (moment(found.first_seen_at), moment(found.last_seen_at));
    [found.item_id.to_string(), found.count.to_string(), bought, first, last]
}

fn rival_row(rival: &Rival) -> [String; 4] {
    let stands = match rival.standing {
        Standing::UnderWay => "its call may still be answered",
        Standing::Pending => "the upstream has not settled it",
        Standing::Told => "its items were told",
        Standing::InReview => "a person must decide",
        Standing::Unknown => "nobody knows whether it bought",
    };
    [rival.purchase_id.to_string(), rival.amount.to_string(), moment(rival.begun_at), stands.into()]
}

fn moment(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use clawback_domain::{ItemId, PurchaseId};

    use super::*;

    fn good() -> Look {
        let item = |name| ItemId::new(name).unwrap();
        Look {
            at: Time::UNIX_EPOCH,
            good: true,
            proof: true,
            listed: 3,
            missing: 0,
            unexplained: vec![item("a"), item("b")],
            note: "2 unexplained items".into(),
        }
    }

    #[test]
    fn a_look_is_told_in_words() {
        assert_eq!(look(&good()), "3 listed; everything known before is there; 2 unexplained items: a, b");
        let short = Look { missing: 1, unexplained: Vec::new(), note: "0 unexplained items".into(), ..good() };
        assert_eq!(look(&short), "3 listed; 1 known before not shown, so that absence proves nothing; 0 unexplained items");
        let bad = Look { good: false, note: "502".into(), ..good() };
        assert_eq!(look(&bad), "proves nothing: 502");
    }

    #[test]
    fn everything_that_speaks_for_and_against_is_told() {
        let at = Time::UNIX_EPOCH;
        let found =
            Found { item_id: ItemId::new("a").unwrap(), purchased_at: Some(at), count: 2, first_seen_at: at, last_seen_at: at };
        let purchase_id = PurchaseId(uuid::Uuid::from_u128(5));
        let rival = Rival { purchase_id, amount: 2, begun_at: at, standing: Standing::Unknown };
        let evidence = Evidence {
            doubt: "the connection was reset".into(),
            window_ends_at: Some(at),
            looked: 3,
            looks: vec![good()],
            found: vec![found],
            rivals: vec![rival],
            verdict: "two purchases may have bought it".into(),
            ..Evidence::default()
        };
        let text = text(&evidence);
        for told in ["the connection was reset", "looks: 3", "nobody knows", "two purchases may", &purchase_id.to_string()] {
            assert!(text.contains(told), "{told:?} is missing in\n{text}");
        }
    }
}
