//! One look at a purchase in doubt: what it adds to the evidence, and what follows.

use super::{
    Case, Evidence, LEAST_PROOFS, Look, MOST_LOOKS, Reading, Survey, Verdict,
    assign::{Claimant, Group, Share, assign},
    rivals::{Other, Standing, others},
    scene::{Leftover, Scene},
    survey::survey,
};
use crate::{
    Time,
    answer::{Answer, InventoryAnswer},
    clock::after,
    item::{HeldItem, Item},
    planted::{Bug, planted},
    purchase::{Purchase, Rules, State},
    reason::ReviewCode,
};

/// What one look comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    pub verdict: Verdict,
    pub evidence: Evidence,
    /// What a good look tells beyond this purchase.
    pub survey: Option<Survey>,
}

/// What is in doubt.
enum Doubt<'a> {
    /// Whether an attempt bought anything.
    Attempt,
    /// Whether a transaction of which the upstream says that it failed really did; its items, if they were told.
    Cancelled(&'a [Item]),
}

/// Weighs one reading against all that is known of the user. `None`: nothing is in doubt. The reading must have been made before the
/// case was read.
pub fn examine(purchase: &Purchase, reading: &Reading, case: &Case, rules: &Rules) -> Option<Examined> {
    let (doubt, mut evidence) = in_doubt(purchase, case, rules)?;
    let now = reading.ended;
    let others: Vec<Other<'_>> = others(case, Some(purchase.id), rules.reconcile.window, now);
    let scene = Scene::new(purchase, reading, case, rules, &others, &evidence);
    evidence.clock = scene.clock;
    let (look, grown) = scene.look(&mut evidence);
    evidence.rivals = scene.rivals();
    evidence.looked += 1;
    evidence.proofs += u32::from(look.proof);
    let verdict = match &doubt {
        Doubt::Attempt => Judge { scene: &scene, evidence: &evidence, look: &look, settled: !grown }.attempt(),
        Doubt::Cancelled(told) => cancelled(&scene, told, &look),
    };
    keep(&mut evidence.looks, look);
    evidence.verdict = in_words(&verdict);
    let survey = match &reading.answer {
        InventoryAnswer::Read(inventory) => {
            let survey = survey(inventory, case, &purchase.partner, (reading.began, now), rules);
            Some(survey.after(&verdict, case))
        }
        _ => None,
    };
    Some(Examined { verdict, evidence, survey })
}

/// The evidence so far, or its beginning.
fn in_doubt<'a>(purchase: &Purchase, case: &'a Case, rules: &Rules) -> Option<(Doubt<'a>, Evidence)> {
    let attempts = case.open.iter().find(|open| open.purchase.id == purchase.id).map(|open| open.attempts.as_slice());
    let last = attempts.and_then(|attempts| attempts.last());
    let begun_at = last.map_or(purchase.created_at, |record| record.attempt.started_at);
    let told = match last.and_then(|record| record.fact.as_ref()).map(|fact| &fact.answer) {
        Some(Answer::Done { nfts, .. }) => nfts.as_slice(),
        _ => &[],
    };
    let cancelled = || "the upstream says that the transaction failed".to_owned();
    let (doubt, words, status, since, earlier) = match &purchase.state {
        State::Reconciling(doubt) => (Doubt::Attempt, doubt.why.clone(), doubt.status, doubt.since, doubt.evidence.as_deref()),
        State::Pending(pending) if pending.cancelled => (Doubt::Cancelled(told), cancelled(), Some(400), pending.since, None),
        State::Review(review) if review.cancelled => {
            (Doubt::Cancelled(told), cancelled(), Some(400), review.since, review.evidence.as_deref())
        }
        State::Review(review) if review.session.is_none() => {
            (Doubt::Attempt, review.message.clone(), None, review.since, review.evidence.as_deref())
        }
        State::Accepted { .. }
        | State::Initiating(_)
        | State::Pending(_)
        | State::Review(_)
        | State::Fulfilled(_)
        | State::Failed { .. } => return None,
    };
    let evidence = earlier.cloned().unwrap_or_else(|| Evidence { doubt: words, status, ..Evidence::default() });
    let window_ends_at = evidence.window_ends_at.or(Some(after(since, rules.reconcile.window)));
    Some((doubt, Evidence { begun_at: evidence.begun_at.or(Some(begun_at)), window_ends_at, ..evidence }))
}

/// The bench on which an attempt is judged.
struct Judge<'a> {
    scene: &'a Scene<'a>,
    evidence: &'a Evidence,
    look: &'a Look,
    /// Whether this look added nothing to what earlier ones showed.
    settled: bool,
}

impl Judge<'_> {
    fn attempt(&self) -> Verdict {
        let Leftover { items, surely, doubtful } = self.scene.leftover();
        let mine: Vec<_> = items.iter().filter(|held| self.scene.may_be_ours(held.purchased_at)).collect();
        if mine.is_empty() {
            return self.nothing_there(surely);
        }
        if let Some(verdict) = self.others_first(&items) {
            return verdict;
        }
        if mine.iter().any(|held| held.purchased_at.is_none()) {
            return self.undecided(mine.len(), "the inventory does not tell when an unexplained item was bought");
        }
        if items.iter().filter_map(|held| held.purchased_at).any(|at| doubtful.contains(&at)) {
            return self.undecided(mine.len(), "an item may have been taken for another of the same id");
        }
        if self.scene.case.truncated {
            return self.undecided(mine.len(), "the user has too many open purchases to tell them apart");
        }
        let claimants = self.claimants();
        let groups = self.groups(&items, &claimants);
        let ours = self.ours();
        match assign(ours, &claimants, &groups) {
            Share::Certain(_) if !self.settled && claimants.iter().any(|other| other.amount != ours.amount) => {
                Verdict::Wait("purchases of several amounts are in doubt: a second look must show the same".into())
            }
            Share::Certain(taken) => self.recovered(&items, &groups, &taken),
            Share::Nothing => self.undecided(0, "other purchases in doubt explain what is there"),
            Share::Unclear(why) => self.undecided(mine.len(), &why),
        }
    }

    /// Nobody is given an item that another may yet turn out to have bought.
    fn others_first(&self, items: &[&HeldItem]) -> Option<Verdict> {
        if planted(Bug::RivalsForgotten) {
            return None;
        }
        let standing = |standing| self.scene.concerned_by(items).find(|other| other.standing == standing);
        if let Some(other) = standing(Standing::UnderWay).or_else(|| standing(Standing::Pending)) {
            return Some(Verdict::Wait(format!("purchase {} may have bought what is there, and will tell", other.purchase)));
        }
        let in_review = standing(Standing::InReview)?;
        let why = format!("purchase {} may have bought what is there, and a person must decide about it", in_review.purchase);
        Some(Verdict::Unclear(ReviewCode::Ambiguous, why))
    }

    fn ours(&self) -> Claimant {
        let Scene { since, until, .. } = *self.scene;
        Claimant { amount: self.scene.purchase.command.amount, since, until }
    }

    fn claimants(&self) -> Vec<Claimant> {
        let unknown = self.scene.of_our_pack().filter(|other| other.standing == Standing::Unknown);
        let claimant = |other: &Other<'_>| Claimant {
            amount: other.amount,
            since: self.scene.since_of(other),
            until: self.scene.until_of(other),
        };
        unknown.map(claimant).collect()
    }

    /// What is there and may be somebody's, by its time.
    fn groups(&self, items: &[&HeldItem], claimants: &[Claimant]) -> Vec<Group> {
        let ours = self.ours();
        let anybodys = |at: &Time| claimants.iter().chain([&ours]).any(|claimant| claimant.may_have(*at));
        let mut times: Vec<Time> = items.iter().filter_map(|held| held.purchased_at).filter(anybodys).collect();
        times.sort_unstable();
        times.chunk_by(|one, other| one == other).map(|group| Group { at: group[0], count: group.len() as u32 }).collect()
    }

    fn recovered(&self, items: &[&HeldItem], groups: &[Group], taken: &[usize]) -> Verdict {
        let amount = self.scene.purchase.command.amount as usize;
        let of_group = |held: &&&HeldItem| taken.iter().any(|place| held.purchased_at == Some(groups[*place].at));
        let mut items: Vec<HeldItem> = items.iter().filter(of_group).map(|held| (*held).clone()).collect();
        // Of equals that were bought in one instant: as listed, for what one purchase brought most likely stands together.
        items.truncate(amount);
        items.sort_by(|one, other| one.item.item_id.cmp(&other.item.item_id));
        match self.forbidden() {
            Some((code, why)) => Verdict::Unclear(code, why),
            None => Verdict::Recovered(items),
        }
    }

    /// Why nothing may be inferred for good, whatever the inventory shows.
    fn forbidden(&self) -> Option<(ReviewCode, String)> {
        if !self.scene.rules.exclusive {
            let why = "the inventory alone proves nothing: other software buys with this key too";
            return Some((ReviewCode::UnknownOutcome, why.into()));
        }
        let retried = self.scene.case.retried_at.is_some_and(|retried| self.scene.begun_at <= retried);
        let why = "a person had another purchase of the user called again: what was bought before cannot be told apart";
        retried.then(|| (ReviewCode::Ambiguous, why.into()))
    }

    /// No look showed anything that may be this purchase's.
    fn nothing_there(&self, surely: bool) -> Verdict {
        let provable = is_refusal(self.evidence.status) && surely && !self.scene.case.truncated && self.forbidden().is_none();
        if planted(Bug::OneLookEnough) && provable && self.look.proof {
            return Verdict::Absent;
        }
        if self.scene.window_is_over && provable && self.look.proof {
            return match self.evidence.proofs >= LEAST_PROOFS {
                true => Verdict::Absent,
                false => Verdict::Wait(format!("{} of {LEAST_PROOFS} looks have proved absence", self.evidence.proofs)),
            };
        }
        let seen = match self.look {
            look if !look.good => format!("the inventory could not be read ({})", look.note),
            look if !look.proof => format!("the inventory does not show {} items that it must show", look.missing),
            _ => "the inventory shows nothing that no purchase explains".into(),
        };
        self.undecided(0, &seen)
    }

    /// What cannot be decided may still clear up until the window is over.
    fn undecided(&self, there: usize, why: &str) -> Verdict {
        if !self.scene.window_is_over {
            return Verdict::Wait(why.into());
        }
        let code = match there {
            0 => ReviewCode::UnknownOutcome,
            some if some < self.scene.purchase.command.amount as usize => ReviewCode::PartialItems,
            _ => ReviewCode::Ambiguous,
        };
        Verdict::Unclear(code, format!("{}; {why}", self.evidence.doubt))
    }
}

/// An answer in words that nobody documented, but of a kind that has no effect: 4xx, without those that speak of time or of a load.
fn is_refusal(status: Option<u16>) -> bool {
    status.is_some_and(|status| (400..500).contains(&status) && !matches!(status, 408 | 425 | 429))
}

/// The verdict on a transaction that the upstream says has failed: its items must be absent from a look that shows every pull that it
/// must show.
fn cancelled(scene: &Scene<'_>, told: &[Item], look: &Look) -> Verdict {
    if !look.good {
        return Verdict::Wait(look.note.clone());
    }
    let Leftover { items, .. } = scene.leftover();
    let mine = |held: &&HeldItem| {
        scene.may_be_ours(held.purchased_at) && (told.is_empty() || told.iter().any(|item| item.item_id == held.item.item_id))
    };
    if items.iter().any(mine) {
        let open = |other: &&Other<'_>| matches!(other.standing, Standing::UnderWay | Standing::Pending | Standing::Unknown);
        if let Some(other) = scene.concerned_by(&items).find(open) {
            return Verdict::Wait(format!("purchase {} may have bought what is there", other.purchase));
        }
        let why = "the upstream says that the transaction failed, yet the inventory shows items that no purchase explains";
        return Verdict::Unclear(ReviewCode::ItemMismatch, why.into());
    }
    match look.proof {
        true => Verdict::Absent,
        false => Verdict::Wait("the inventory does not show every item that it must show".into()),
    }
}

/// The first look stays: it tells how it all began.
fn keep(looks: &mut Vec<Look>, look: Look) {
    if looks.len() >= MOST_LOOKS {
        looks.remove(1);
    }
    looks.push(look);
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Wait(why) => format!("nothing can be said yet: {why}"),
        Verdict::Recovered(items) if items.len() == 1 => "the item is this purchase's: nothing else explains it".into(),
        Verdict::Recovered(items) => format!("the {} items are this purchase's: nothing else explains them", items.len()),
        Verdict::Absent => "it surely bought nothing".into(),
        Verdict::Unclear(_, why) => why.clone(),
    }
}
