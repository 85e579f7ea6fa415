//! What the demo says.

pub mod days;

use super::{
    count::{Counted, Tally},
    plant::PARTNERS,
};
use crate::{output, verbs::show::Story};

pub fn opening(purchases: u32) -> String {
    format!(
        "{} made-up partners ask for {purchases} purchases, some of them twice, one in rubbish.\nThe stand-in upstream settles \
         late, refuses some, and loses the answer of some calls.\n",
        PARTNERS.len()
    )
}

pub fn ending(counted: &Counted, story: Option<&Story>) -> String {
    let mut text = table(counted);
    if let Some(story) = story {
        text.push_str("\nOne of them, as `clawback show` tells it:\n\n");
        text.extend(story.text().lines().map(|line| format!("  {line}\n")));
    }
    text
}

fn table(counted: &Counted) -> String {
    let row = |name: &str, tally: &Tally| {
        let numbers = [tally.purchases, tally.fulfilled, tally.failed, tally.review, tally.open].map(|count| count.to_string());
        let [purchases, fulfilled, failed, review, open] = numbers;
        [name.to_owned(), purchases, fulfilled, failed, review, open]
    };
    let total = counted.total();
    let rows = counted.by_partner.iter().map(|(partner, tally)| row(partner.as_str(), tally)).chain([row("all", &total)]);
    output::table(["partner", "purchases", "fulfilled", "failed", "review", "open"], rows)
}

pub fn verdict(counted: &Counted) -> String {
    let total = counted.total();
    let most = counted.took.most.as_secs_f64();
    let ended = total.purchases - total.review - total.open;
    format!(
        "{ended} of {} purchases had ended after {most:.1} s, {:.0} a second; {} events arrived.\n{}{}Held against the stand-in's \
         own ledger: {} lost, {} bought twice, {} sold twice.\n\nNext: `clawback up --sandbox` in one terminal; in another \
         `clawback enqueue purchase --user u-1 --pack rookie`,\n`clawback list purchases`, `clawback events tail`.",
        total.purchases,
        ended as f64 / most.max(0.001),
        counted.events,
        doubts(counted, total),
        days::sums(&counted.sums),
        counted.lost,
        counted.bought_twice,
        counted.sums.sold_twice,
    )
}

/// What became of the calls whose answer was lost: that is the point.
fn doubts(counted: &Counted, Tally { recovered, review, .. }: Tally) -> String {
    let in_doubt = recovered + review;
    if in_doubt == 0 {
        return String::new();
    }
    let waiting = match (review, counted.bought_in_review) {
        (0, _) => String::new(),
        (_, 0) => format!(" In review, for a person: {review};\nof these nothing has appeared, which proves nothing."),
        (_, bought) => format!(" In review, for a person: {review};\nthe ledger says that {bought} of these were bought."),
    };
    format!(
        "Of {in_doubt} calls nobody knew whether they had bought. Calling again could buy twice, so nobody did: the inventory was \
         read,\nand {recovered} were recovered from it.{waiting}\n"
    )
}
