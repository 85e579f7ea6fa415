//! What was held of an item before the call that may have sold it, and after.

use clawback_domain::sellback::{Copies, SaleEvidence, SaleLook};

use super::moment;
use crate::output::{self, printable};

/// What the last reading of the inventory showed.
pub fn look(look: &SaleLook) -> String {
    match (look.good, look.departed) {
        (false, _) => "it could not be read, which proves nothing".into(),
        (true, 0) => format!("{}; all that were held before are there", copies(look.count)),
        (true, departed) => format!("{}; of those held before {departed} not there any more", copies(look.count)),
    }
}

/// The doubt, what was held before and after, and the verdict.
pub fn text(evidence: &SaleEvidence) -> String {
    let SaleEvidence { doubt, begun_at, before, looked, last, still_there_at, sold_by_others, window_ends_at, verdict, .. } =
        evidence;
    let mut text = format!("the doubt: {}\n", printable(doubt));
    let partial = if before.partial { ", and there may be more" } else { "" };
    text.push_str(&format!(
        "held before the call of {}: {}{partial} (read at {})\n",
        moment(*begun_at),
        copies(before.count()),
        moment(before.read_at)
    ));
    text.push_str(&output::table(["holder", "bought at", "copies"], before.copies.iter().map(row)));
    match last {
        Some(last) => text.push_str(&format!("held after it: {} (look {looked}, at {})\n", look(last), moment(last.at))),
        None => text.push_str("no look has followed yet\n"),
    }
    if *sold_by_others > 0 {
        text.push_str(&format!("sold by other sellbacks before the call, and not counted: {}\n", copies(*sold_by_others)));
    }
    if let Some(at) = still_there_at {
        text.push_str(&format!("it was still there at {}, long after the call\n", moment(*at)));
    }
    text.push_str(&format!(
        "the verdict: {} (what is still there at {} was not sold)\n",
        printable(verdict),
        moment(*window_ends_at)
    ));
    text
}

fn row(copies: &Copies) -> [String; 3] {
    let bought = copies.purchased_at.map_or_else(|| "not told".into(), moment);
    [copies.user_id.to_string(), bought, copies.count.to_string()]
}

fn copies(count: u32) -> String {
    if count == 1 { "1 copy".into() } else { format!("{count} copies") }
}

#[cfg(test)]
mod tests {
    use clawback_domain::{Time, UserId, sellback::Holding};

    use super::*;

    #[test]
    fn before_and_after_are_told() {
        let at = Time::UNIX_EPOCH;
        let held = Copies { user_id: UserId::new("kim").unwrap(), purchased_at: Some(at), count: 2 };
        let evidence = SaleEvidence {
            doubt: "the connection was reset".into(),
            before: Holding { read_at: at, copies: vec![held], partial: true },
            looked: 3,
            last: Some(SaleLook { at, good: true, count: 1, departed: 1 }),
            still_there_at: Some(at),
            sold_by_others: 2,
            verdict: "it left the inventory long after the call".into(),
            ..SaleEvidence::default()
        };
        let text = text(&evidence);
        for told in [
            "the connection was reset",
            "2 copies, and there may be more",
            "1 copy; of those held before 1 not there any more (look 3, at 1970",
            "not counted: 2 copies",
            "still there at 1970",
            "long after the call",
        ] {
            assert!(text.contains(told), "{told:?} is missing in\n{text}");
        }
        assert!(look(&SaleLook { at, good: false, count: 0, departed: 0 }).contains("proves nothing"));
    }
}
