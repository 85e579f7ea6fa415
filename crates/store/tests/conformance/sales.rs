//! Of one item id one sale is unsettled at a time, and a pull is given away once.

use clawback_domain::{
    PartnerId, UserId,
    change::{Change, Insertion},
    command::{SellbackCommand, Target},
    evidence::Sightings,
    item::{Pull, PullSale, Shown, Sight},
    sellback::{Happened, MOST_HOLDERS, MOST_SALES, PullPlace, SaleCase, SaleVerdict, Sellback, SoldCopy},
};
use clawback_store::{Applied, StoreError};

use crate::{build::*, sale::*, stage::Stage};

async fn apply_all(store: &Stage, changes: &[Change]) -> Vec<Result<Applied, StoreError>> {
    let handles = [store.shared(), store.second().await];
    at_once(changes.iter().cloned().enumerate().map(|(n, change)| {
        let store = handles[n % 2].clone();
        async move { store.apply(change).await }
    }))
    .await
}

async fn waiting(store: &Stage, request: &str, item: &str) -> Sellback {
    keep(&**store, Insertion::of(sellback(acme(), request, item, at(0)))).await
}

pub async fn a_second_sale_of_an_item_is_refused_and_its_neighbours_stand(store: Stage) {
    let first = selling(&*store, acme(), "first", "item", at(0)).await;
    let second = waiting(&store, "second", "item").await;
    let mut changes = vec![opened(&second, None, at(1))];
    for n in 0..20 {
        let row = waiting(&store, &format!("r-{n}"), &format!("item-{n}")).await;
        changes.push(opened(&row, None, at(1)));
    }
    let results = apply_all(&store, &changes).await;
    assert!(matches!(results[0], Err(StoreError::Refused(_))), "{:?}", results[0]);
    assert!(results[1..].iter().all(|result| matches!(result, Ok(Applied::Committed))), "{results:?}");
    assert_eq!(sale_of(&*store, second.id).await, second);
    assert!(store.attempts(second.id).await.unwrap().is_empty(), "no call was begun");
    let refused = store.insert(offered(sellback(acme(), "third", "item", at(1)), None)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(store.sellback(sellback(acme(), "third", "item", at(1)).id).await.unwrap(), None);
    assert_eq!(sale_of(&*store, first.id).await, first);
    selling(&*store, beta(), "first", "item", at(0)).await;
}

/// In one batch, and from two handles as two workers would.
pub async fn of_many_doors_of_one_item_at_once_exactly_one_opens(store: Stage) {
    for round in 0..6 {
        let item = format!("item-{round}");
        let mut changes = Vec::new();
        for n in 0..8 {
            let row = waiting(&store, &format!("r-{round}-{n}"), &item).await;
            changes.push(opened(&row, None, at(1)));
        }
        let results = apply_all(&store, &changes).await;
        let opened: Vec<_> = (0..8).filter(|&n| matches!(results[n], Ok(Applied::Committed))).collect();
        assert_eq!(opened.len(), 1, "{results:?}");
        assert!(results.iter().enumerate().all(|(n, result)| n == opened[0] || matches!(result, Err(StoreError::Refused(_)))));
        let under_way = case(&store, "user-1", &item).await.under_way;
        assert_eq!(under_way, Some(changes[opened[0]].after.id()));
    }
}

async fn case(store: &Stage, name: &str, item: &str) -> SaleCase {
    store.sale_case(&acme(), &user(name), &Target::Item(item_id(item))).await.unwrap()
}

async fn is_free(store: &Stage, item: &str) -> bool {
    case(store, "user-1", item).await.under_way.is_none()
}

pub async fn an_item_is_free_when_its_sale_is_settled_and_not_before(store: Stage) {
    let unknown = || clawback_domain::answer::Answer::Unknown { why: "reset".into(), status: None };
    let never_sent = || clawback_domain::answer::Answer::NeverSent { why: "no route".into() };
    let ends = [sold_for(1), not_found(), never_sent()];
    for (n, answer) in ends.into_iter().enumerate() {
        let row = selling(&*store, acme(), &format!("r-{n}"), "item", at(0)).await;
        assert!(!is_free(&store, "item").await);
        moved(&*store, told(&row, answer, at(1))).await;
        assert!(is_free(&store, "item").await);
    }
    let row = selling(&*store, acme(), "doubted", "item", at(0)).await;
    let mut row = moved(&*store, told(&row, unknown(), at(1))).await;
    let steps = [looked(in_question()), retried(), Happened::Expired, retried(), Happened::Expired];
    for (n, happened) in steps.into_iter().enumerate() {
        assert!(!is_free(&store, "item").await, "after {n} steps it is in doubt");
        row = moved(&*store, sale_then(&row, happened, at(100_000 + n as i64))).await;
    }
    assert!(!is_free(&store, "item").await);
    let answer = clawback_domain::sellback::Resolution::Failed;
    let resolved = Happened::Resolved { resolution: answer, by: "ann".into(), why: "gone".into() };
    moved(&*store, sale_then(&row, resolved, at(200_000))).await;
    assert!(is_free(&store, "item").await);
    selling(&*store, acme(), "next", "item", at(0)).await;
}

/// One settles and the next one opens, in whichever order the store comes to them: the next opens or is told to wait.
pub async fn a_door_may_open_while_another_shuts(store: Stage) {
    let mut holder = selling(&*store, acme(), "r-0", "item", at(0)).await;
    for n in 1..20 {
        let next = waiting(&store, &format!("r-{n}"), "item").await;
        let changes = [told(&holder, sold_for(1), at(1)), opened(&next, None, at(1))];
        let results = apply_all(&store, &changes).await;
        assert!(matches!(results[0], Ok(Applied::Committed)), "{results:?}");
        holder = match &results[1] {
            Ok(Applied::Committed) => sale_of(&*store, next.id).await,
            Err(StoreError::Refused(_)) => moved(&*store, opened(&next, None, at(2))).await,
            other => panic!("{other:?}"),
        };
    }
}

/// Two pulls of `item-0` and `item-1`.
async fn drawn(store: &Stage, request: &str, now: i64) -> Vec<Pull> {
    let row = fulfilled(&**store, acme(), request, at(now)).await;
    store.pulls(row.id).await.unwrap()
}

async fn sell(store: &Stage, request: &str, pull: PullPlace, now: i64) -> Sellback {
    let row = keep(&**store, offered(sellback(acme(), request, "item-0", at(now)), Some(pull))).await;
    moved(&**store, told(&row, sold_for(1), at(now))).await
}

async fn version(store: &Stage, partner: &PartnerId, user: &UserId) -> i64 {
    store.case(partner, user).await.unwrap().version
}

pub async fn a_sale_marks_its_pull_and_raises_the_case(store: Stage) {
    let pulls = drawn(&store, "r-1", 0).await;
    let before = version(&store, &acme(), &user("user-1")).await;
    let sold = sell(&store, "s-1", place(&pulls[0]), 5).await;
    let marked = Some(PullSale { by: sold.id, at: at(5) });
    let expected = [Pull { sale: marked, ..pulls[0].clone() }, pulls[1].clone()];
    assert_eq!(store.pulls(pulls[0].purchase).await.unwrap(), expected);
    assert_eq!(store.pulls_of_user(&acme(), &user("user-1")).await.unwrap(), expected);
    assert_eq!(version(&store, &acme(), &user("user-1")).await, before + 1);
    let row = selling(&*store, acme(), "s-2", "an item of nobody's", at(6)).await;
    moved(&*store, told(&row, sold_for(1), at(6))).await;
    assert_eq!(version(&store, &acme(), &user("user-1")).await, before + 1, "no pull, no ruling");
}

pub async fn a_sale_that_is_lost_marks_nothing(store: Stage) {
    let pulls = drawn(&store, "r-1", 0).await;
    let row = keep(&*store, offered(sellback(acme(), "s-1", "item-0", at(0)), Some(place(&pulls[0])))).await;
    let late = told(&row, sold_for(1), at(100));
    let doubted = moved(&*store, sale_then(&row, Happened::DeadlinePassed, at(90))).await;
    assert_eq!(store.apply(late.clone()).await.unwrap(), Applied::Lost);
    assert_eq!(store.pulls(pulls[0].purchase).await.unwrap(), pulls);
    assert_eq!(store.attempts(row.id).await.unwrap()[0].fact, late.fact, "the fact is kept");
    assert_eq!(sale_of(&*store, row.id).await, doubted);
    let mut refused = sale_then(&doubted, looked(SaleVerdict::Sold), at(101));
    refused.entry.as_mut().unwrap().note = "a\0b".into();
    assert!(matches!(store.apply(refused).await, Err(StoreError::Refused(_))));
    assert_eq!(store.pulls(pulls[0].purchase).await.unwrap(), pulls);
}

pub async fn a_pull_is_given_away_once(store: Stage) {
    let pulls = drawn(&store, "r-1", 0).await;
    let first = sell(&store, "s-1", place(&pulls[0]), 5).await;
    sell(&store, "s-2", place(&pulls[0]), 9).await;
    let marked = store.pulls(pulls[0].purchase).await.unwrap()[0].sale;
    assert_eq!(marked, Some(PullSale { by: first.id, at: at(5) }));
}

pub async fn a_pull_of_another_user_is_not_given_away(store: Stage) {
    let pulls = drawn(&store, "r-1", 0).await;
    let mut command = sale_command("s-1", "item-0");
    command.user_id = user("user-2");
    let row = Sellback::accept(acme(), command, at(0), trace());
    let row = keep(&*store, offered(row, Some(place(&pulls[0])))).await;
    moved(&*store, told(&row, sold_for(1), at(1))).await;
    assert_eq!(store.pulls(pulls[0].purchase).await.unwrap(), pulls);
}

/// Of one user's, of several users', in one batch and in many.
pub async fn many_sales_at_once_all_mark_their_pulls(store: Stage) {
    let mut changes = Vec::new();
    for n in 0..24 {
        let owner = user(&format!("user-{}", n % 5));
        let mut command = command(&format!("r-{n}"));
        command.user_id = owner.clone();
        let bought = clawback_domain::purchase::Purchase::accept(acme(), command, at(0), trace());
        let bought = stored(&*store, Insertion::of(bought)).await;
        let attempt = bought.attempt(
            clawback_domain::AttemptToken(uuid::Uuid::from_u128(1000 + n)),
            at(0),
            &clawback_domain::order::Rules::default(),
        );
        let row = applied(&*store, then(&bought, clawback_domain::purchase::Happened::Initiated(attempt), at(0))).await;
        let row = applied(&*store, answered(&row, done(&format!("s-{n}")), at(0))).await;
        let mut fulfilment = fulfilment(&row, at(0));
        fulfilment.pulls.iter_mut().for_each(|pull| pull.item = item(&format!("item-{n}")));
        let pull = fulfilment.pulls[1].clone();
        applied(&*store, fulfilment).await;
        let mut command = sale_command(&format!("sell-{n}"), &format!("item-{n}"));
        command.user_id = owner;
        let row = Sellback::accept(acme(), command, at(1), trace());
        let row = keep(&*store, offered(row, Some(place(&pull)))).await;
        changes.push(told(&row, sold_for(1), at(2)));
    }
    let results = apply_all(&store, &changes).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Applied::Committed))), "{results:?}");
    for change in &changes {
        let sold = change.sold().expect("it gives a pull away");
        let pulls = store.pulls(sold.purchase).await.unwrap();
        let marks: Vec<_> = pulls.iter().map(|pull| pull.sale.map(|sale| sale.by)).collect();
        assert_eq!(marks, [None, Some(change.after.id())]);
    }
}

/// Pulls of `item`, one for each user.
async fn hold(store: &Stage, users: impl IntoIterator<Item = String>) -> Vec<Pull> {
    let mut all = Vec::new();
    for name in users {
        let mut command = command(&format!("of {name}"));
        (command.user_id, command.amount) = (user(&name), 1);
        let bought = clawback_domain::purchase::Purchase::accept(acme(), command, at(0), trace());
        let bought = stored(&**store, Insertion::of(bought)).await;
        let token = clawback_domain::AttemptToken(uuid::Uuid::new_v5(&uuid::Uuid::nil(), name.as_bytes()));
        let attempt = bought.attempt(token, at(0), &clawback_domain::order::Rules::default());
        let row = applied(&**store, then(&bought, clawback_domain::purchase::Happened::Initiated(attempt), at(0))).await;
        let row = applied(&**store, answered(&row, done(&name), at(0))).await;
        let told = fulfilment(&row, at(0));
        all.extend(told.pulls.clone());
        applied(&**store, told).await;
    }
    all
}

pub async fn a_sale_case_tells_who_else_may_hold_the_item(store: Stage) {
    let names = ["zoe", "user-1", "bob", "ann", "cleo", "dan", "eve"];
    let pulls = hold(&store, names.map(str::to_owned)).await;
    let holders = |case: &SaleCase| case.holders.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = case(&store, "user-1", "item-0").await;
    assert_eq!(found.pulls, [pulls[1].clone()]);
    assert_eq!(holders(&found), ["ann", "bob", "cleo", "dan", "eve"], "one more than are read, in order");
    assert_eq!(found.holders.len(), MOST_HOLDERS as usize + 1);

    let row = Sellback::accept(acme(), SellbackOf { name: "bob" }.command(), at(1), trace());
    let row = keep(&*store, offered(row, Some(place(&pulls[2])))).await;
    assert_eq!(holders(&case(&store, "user-1", "item-0").await), ["ann", "bob", "cleo", "dan", "eve"]);
    moved(&*store, told(&row, sold_for(1), at(2))).await;
    assert_eq!(
        holders(&case(&store, "user-1", "item-0").await),
        ["ann", "bob", "cleo", "dan", "eve"],
        "bob may hold another's"
    );
    assert_eq!(case(&store, "user-1", "another item").await, SaleCase::default());
    let theirs = store.sale_case(&beta(), &user("user-1"), &Target::Item(item_id("item-0"))).await.unwrap();
    assert_eq!(theirs, SaleCase::default());
}

struct SellbackOf {
    name: &'static str,
}

impl SellbackOf {
    fn command(&self) -> SellbackCommand {
        let command = sale_command(&format!("by {}", self.name), "item-0");
        SellbackCommand { user_id: user(self.name), ..command }
    }
}

pub async fn a_sale_case_of_a_pull_is_that_pulls_and_of_its_item(store: Stage) {
    let ours = drawn(&store, "r-1", 0).await;
    let others = hold(&store, ["ann".to_owned()]).await;
    let of_pull =
        async |owner: &str, pull: &Pull| store.sale_case(&acme(), &user(owner), &Target::Pull(pull.id)).await.unwrap();
    let found = of_pull("user-1", &ours[0]).await;
    assert_eq!((found.pulls, found.holders), (vec![ours[0].clone()], vec![user("ann")]));
    assert_eq!(of_pull("user-1", &ours[1]).await.holders, []);
    assert_eq!(of_pull("user-1", &others[0]).await, SaleCase::default(), "another user's pull");
    let row = selling(&*store, acme(), "s-1", "item-0", at(1)).await;
    let busy = of_pull("user-1", &ours[0]).await;
    assert_eq!((busy.under_way, busy.selling), (Some(row.id), vec![item_id("item-0")]));
    let beside = of_pull("user-1", &ours[1]).await;
    assert_eq!((beside.under_way, beside.selling), (None, vec![item_id("item-0")]));
    let theirs = of_pull("ann", &others[0]).await;
    assert_eq!((theirs.under_way, theirs.selling), (Some(row.id), vec![]), "the item id is the account's, the sale the user's");
}

pub async fn a_sale_case_tells_the_last_sales_newest_first(store: Stage) {
    let count = i64::from(MOST_SALES) + 2;
    let mut expected = Vec::new();
    for n in 0..count {
        let pulls = drawn(&store, &format!("r-{n}"), 0).await;
        if n % 2 == 0 {
            let shown = Shown { purchased_at: Some(at(n)), ..Shown::default() };
            let pulls = vec![(pulls[0].purchase, pulls[0].position, Some(shown))];
            store.record_look(Sightings { partner: acme(), user_id: user("user-1"), at: at(n), pulls }).await.unwrap();
        }
        let by = sell(&store, &format!("s-{n}"), place(&pulls[0]), 100 + n).await.id;
        let purchased_at = (n % 2 == 0).then(|| at(n));
        expected.push(SoldCopy { by, user_id: user("user-1"), purchased_at, sold_at: at(100 + n) });
    }
    expected.reverse();
    expected.truncate(MOST_SALES as usize);
    assert_eq!(case(&store, "user-2", "item-0").await.sold, expected, "whoever asks");
    assert_eq!(case(&store, "user-1", "item-1").await.sold, []);
}

/// Of an item that no purchase drew, by the pull's id, and of a pull that another had given away.
pub async fn every_sale_of_an_item_leaves_a_trace(store: Stage) {
    let pulls = drawn(&store, "r-1", 0).await;
    let shown = Some(Shown { purchased_at: Some(at(-7)), ..Shown::default() });
    let sights = vec![(pulls[0].purchase, pulls[0].position, shown)];
    store.record_look(Sightings { partner: acme(), user_id: user("user-1"), at: at(0), pulls: sights }).await.unwrap();
    let given = sell(&store, "first", place(&pulls[0]), 1).await;
    let again = sell(&store, "again", place(&pulls[0]), 2).await;
    let bare = selling(&*store, acme(), "bare", "item-0", at(3)).await;
    assert_eq!(case(&store, "user-1", "item-0").await.sold.len(), 2, "it is not sold yet");
    moved(&*store, told(&bare, sold_for(1), at(3))).await;
    let failed = selling(&*store, acme(), "failed", "item-0", at(4)).await;
    moved(&*store, told(&failed, not_found(), at(4))).await;
    let by_pull = SellbackCommand { target: Target::Pull(pulls[1].id), ..sale_command("by its pull", "item-0") };
    let by_pull = Sellback::accept(acme(), by_pull, at(5), trace());
    let mut offer = sale(&by_pull, Some(place(&pulls[1])), at(5));
    offer.item_id = pulls[1].item.item_id.clone();
    let by_pull = keep(&*store, Insertion::of(by_pull)).await;
    let by_pull = moved(&*store, sale_then(&by_pull, Happened::Initiated(Box::new(offer)), at(5))).await;
    moved(&*store, told(&by_pull, sold_for(1), at(6))).await;
    selling(&*store, beta(), "another partner's", "item-0", at(7)).await;

    let sold = case(&store, "user-9", "item-0").await.sold;
    let traces: Vec<_> = sold.iter().map(|copy| (copy.by, copy.purchased_at, copy.sold_at)).collect();
    assert_eq!(traces, [(bare.id, None, at(3)), (again.id, None, at(2)), (given.id, Some(at(-7)), at(1))]);
    let other = case(&store, "user-9", pulls[1].item.item_id.as_str()).await.sold;
    assert_eq!(other.iter().map(|copy| (copy.by, copy.sold_at)).collect::<Vec<_>>(), [(by_pull.id, at(6))]);
}

pub async fn a_sale_case_tells_the_copies_that_a_look_has_to_show(store: Stage) {
    let names = ["zoe", "user-1", "bob", "ann", "cleo", "dan"];
    let pulls = hold(&store, names.map(str::to_owned)).await;
    let seen = Shown { purchased_at: Some(at(-7)), exchanged: true, ..Shown::default() };
    for (seconds, shown) in [(1, Some(seen)), (2, None)] {
        let pulls = vec![(pulls[3].purchase, pulls[3].position, shown)];
        store.record_look(Sightings { partner: acme(), user_id: user("ann"), at: at(seconds), pulls }).await.unwrap();
    }
    let sight = Sight {
        looked_at: Some(at(2)),
        seen_at: Some(at(1)),
        missing_since: Some(at(2)),
        purchased_at: Some(at(-7)),
        exchanged: true,
        ..Sight::default()
    };
    let bobs = Sellback::accept(acme(), SellbackOf { name: "bob" }.command(), at(1), trace());
    let bobs = keep(&*store, offered(bobs, Some(place(&pulls[2])))).await;
    let copies = async || {
        let copies = case(&store, "user-1", "item-0").await.copies;
        let mut copies: Vec<_> =
            copies.into_iter().map(|copy| (copy.user_id.to_string(), copy.created_at, copy.sight)).collect();
        copies.sort_unstable_by_key(|(name, ..)| name.clone());
        copies
    };
    let unseen = |name: &str| (name.to_owned(), at(0), Sight::default());
    let anns = ("ann".to_owned(), at(0), sight);
    let before = [anns.clone(), unseen("bob"), unseen("cleo"), unseen("dan"), unseen("user-1")];
    assert_eq!(copies().await, before, "of those who are read");
    moved(&*store, told(&bobs, sold_for(1), at(2))).await;
    assert_eq!(copies().await, [anns, unseen("cleo"), unseen("dan"), unseen("user-1")], "what was given away is not held");
    assert_eq!(case(&store, "user-1", "item-1").await.copies, []);
}
