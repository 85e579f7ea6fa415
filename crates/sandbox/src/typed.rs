//! The engine in the domain's words: what a faultless client makes of each answer, without HTTP and JSON between them.
//!
//! Plain functions on the engine, so that a simulation can let its world perform the effect and carry the answer as late as it
//! likes, or not at all. The classification is that of the client: only a documented refusal, a 401 and a 429 are sure; whatever
//! broke off, timed out, or is no documented text is *unknown*.

use clawback_domain::{
    ItemId, PackId, SessionId, Time, UserId,
    answer::{Answer, BuybackRequest, Fulfilment, InitRequest, Inventory, InventoryAnswer, Pack, PacksAnswer, StatusAnswer},
    item::{Attribute, Expiry, HeldItem, Item},
    reason::FailureCode,
};

use crate::{
    catalogue::{Cents, PackSpec},
    engine::{Engine, Fulfilled, HeldPull, Holdings, Init, Opened, Poll},
    outcome::{self, Outcome, Refusal},
    pull::Pulled,
};

impl Engine {
    /// [`Engine::init`] in the domain's words.
    pub fn buy_init(&mut self, now: Time, key: &str, request: &InitRequest) -> Answer {
        init_answer(self.init_request(now, key, request))
    }

    pub(crate) fn init_request(&mut self, now: Time, key: &str, request: &InitRequest) -> Outcome<Opened> {
        let (pack_id, user_id) = (request.pack_id.as_str(), request.user_id.as_str());
        let init = Init { pack_id, amount: i64::from(request.amount), user_id };
        self.init(now, key, &init, Some(&request.reference))
    }

    /// [`Engine::status`] in the domain's words. A poll that would be held says pending at once.
    pub fn buy_status(&mut self, now: Time, key: &str, session: &SessionId) -> StatusAnswer {
        status_answer(self.status(now, key, session.as_str()))
    }

    /// [`Engine::inventory`] in the domain's words.
    pub fn read_inventory(&mut self, now: Time, key: &str, user: &UserId) -> InventoryAnswer {
        inventory_answer(self.inventory(now, key, user.as_str()))
    }

    /// [`Engine::packs`] in the domain's words.
    pub fn list_packs(&mut self, now: Time, key: &str) -> PacksAnswer {
        packs_answer(self.packs(now, key))
    }

    /// [`Engine::buyback`] in the domain's words.
    pub fn sell_back(&mut self, now: Time, key: &str, request: &BuybackRequest) -> Answer {
        buyback_answer(self.buyback(now, key, request.item_id.as_str()))
    }
}

pub fn init_answer(outcome: Outcome<Opened>) -> Answer {
    let refusal = match outcome.success() {
        Ok(opened) => return Answer::Done { session: session_id(opened.session_id), nfts: items(&opened.nfts) },
        Err(Outcome::Error(refusal)) => refusal,
        Err(broken) => return Answer::Unknown { why: why(&broken), status: status(&broken) },
    };
    match (refusal.status, failure_code(&refusal)) {
        (401, _) => Answer::Unauthorized { message: refusal.error.into_owned() },
        (429, _) => Answer::Busy { retry_after: refusal.retry_after },
        (status, Some(code)) => Answer::Refused { code, message: refusal.error.into_owned(), status },
        (status, None) => Answer::Unknown { why: refusal.error.into_owned(), status: Some(status) },
    }
}

/// The documented refusals of `buy/init`.
fn failure_code(refusal: &Refusal) -> Option<FailureCode> {
    let is = |documented: &Refusal| refusal == documented;
    match refusal {
        _ if is(&outcome::OUT_OF_STOCK) => Some(FailureCode::OutOfStock),
        _ if is(&outcome::AMOUNT_TOO_SMALL) => Some(FailureCode::AmountTooSmall),
        _ if is(&outcome::UNKNOWN_PACK) => Some(FailureCode::UnknownPack),
        _ if is(&outcome::USER_REQUIRED) => Some(FailureCode::UserRequired),
        Refusal { status: 400, error, .. } if error.starts_with("Amount must be less than or equal to ") => {
            Some(FailureCode::AmountTooLarge)
        }
        _ => None,
    }
}

pub fn status_answer(outcome: Outcome<Poll>) -> StatusAnswer {
    match outcome.success() {
        Ok(Poll::Fulfilled(fulfilled)) => StatusAnswer::Fulfilled(fulfilment(&fulfilled)),
        Ok(Poll::Pending | Poll::Hold(_)) => StatusAnswer::Pending,
        Err(Outcome::Error(refusal)) if refusal == outcome::TRANSACTION_FAILED => StatusAnswer::TransactionFailed,
        Err(Outcome::Error(Refusal { status: 401, .. })) => StatusAnswer::Unauthorized,
        Err(broken) => StatusAnswer::Unreadable { why: why(&broken) },
    }
}

pub fn inventory_answer(outcome: Outcome<Holdings>) -> InventoryAnswer {
    match outcome.success() {
        Ok(holdings) => InventoryAnswer::Read(inventory(&holdings)),
        Err(Outcome::Error(Refusal { status: 404, .. })) => InventoryAnswer::UserNotFound,
        Err(Outcome::Error(Refusal { status: 401, .. })) => InventoryAnswer::Unauthorized,
        Err(broken) => InventoryAnswer::Unreadable { why: why(&broken) },
    }
}

pub fn packs_answer(outcome: Outcome<Vec<std::sync::Arc<PackSpec>>>) -> PacksAnswer {
    match outcome.success() {
        Ok(packs) => PacksAnswer::Listed(packs.iter().map(|spec| pack(spec)).collect()),
        Err(Outcome::Error(Refusal { status: 401, .. })) => PacksAnswer::Unauthorized,
        Err(broken) => PacksAnswer::Unreadable { why: why(&broken) },
    }
}

pub fn buyback_answer(outcome: Outcome<Cents>) -> Answer {
    let refusal = match outcome.success() {
        Ok(amount) => return Answer::Sold { amount: Some(amount.money()) },
        Err(Outcome::Error(refusal)) => refusal,
        Err(broken) => return Answer::Unknown { why: why(&broken), status: status(&broken) },
    };
    match refusal {
        _ if refusal == outcome::ITEM_NOT_FOUND => refused(FailureCode::ItemNotFound, refusal),
        _ if refusal == outcome::ITEM_EXPIRED => refused(FailureCode::ItemExpired, refusal),
        _ if refusal == outcome::TRANSACTION_FAILED => refused(FailureCode::TransactionFailed, refusal),
        _ if refusal == outcome::ACTIVE_SESSION => Answer::Busy { retry_after: None },
        Refusal { status: 429, retry_after, .. } => Answer::Busy { retry_after },
        Refusal { status: 401, error, .. } => Answer::Unauthorized { message: error.into_owned() },
        Refusal { status, error, .. } => Answer::Unknown { why: error.into_owned(), status: Some(status) },
    }
}

fn refused(code: FailureCode, refusal: Refusal) -> Answer {
    Answer::Refused { code, message: refusal.error.into_owned(), status: refusal.status }
}

fn why(broken: &Outcome<()>) -> String {
    match broken {
        Outcome::Success(()) => unreachable!("a success is no failure"),
        Outcome::Error(refusal) => format!("{} {}", refusal.status, refusal.error),
        Outcome::CutBody(()) => "the body of the 200 broke off".to_owned(),
        Outcome::Rubbish => "the 200 is no JSON".to_owned(),
        Outcome::Redirect => "a redirect".to_owned(),
        Outcome::Reset => "the connection was reset".to_owned(),
        Outcome::Hang => "no answer in time".to_owned(),
    }
}

fn status(broken: &Outcome<()>) -> Option<u16> {
    match broken {
        Outcome::Success(()) | Outcome::CutBody(()) | Outcome::Rubbish => Some(200),
        Outcome::Error(refusal) => Some(refusal.status),
        Outcome::Redirect => Some(307),
        Outcome::Reset | Outcome::Hang => None,
    }
}

const OURS: &str = "the engine makes only well-formed ids";

fn session_id(id: uuid::Uuid) -> SessionId {
    SessionId::new(id.to_string()).expect(OURS)
}

fn fulfilment(fulfilled: &Fulfilled) -> Fulfilment {
    Fulfilment {
        session: session_id(fulfilled.session_id),
        user_id: UserId::new(&*fulfilled.user_id).ok(),
        public_id: fulfilled.public_id.parse().ok(),
        tx_hash: fulfilled.tx_hash.parse().ok(),
        nfts: items(&fulfilled.nfts),
    }
}

fn inventory(holdings: &Holdings) -> Inventory {
    let user_id = UserId::new(&holdings.user_id).expect("only a well-formed user asks through this door");
    Inventory { user_id, items: holdings.items.iter().map(held_item).collect(), upstream_time: Some(holdings.at) }
}

fn held_item(held: &HeldPull) -> HeldItem {
    HeldItem {
        item: item(&held.pulled),
        claw_id: Some(held.pack.id.clone()),
        claw_slug: Some(held.pack.slug.clone()),
        purchased_at: Some(held.purchased_at),
        expiry: held.expires_at.map_or(Expiry::Never, Expiry::At),
    }
}

fn pack(spec: &PackSpec) -> Pack {
    Pack {
        id: PackId::new(&spec.id).expect("a pack of a sandbox has a well-formed id"),
        slug: Some(spec.slug.clone()),
        name: Some(spec.name.clone()),
        enabled: spec.enabled,
        in_stock: spec.in_stock,
        mint_price: Some(spec.mint_price.money()),
        max_per_mint: Some(spec.max_per_mint),
    }
}

fn items(pulled: &[Pulled]) -> Vec<Item> {
    pulled.iter().map(item).collect()
}

fn item(pulled: &Pulled) -> Item {
    let listing = &*pulled.listing;
    let attribute =
        |(kind, value): &(&str, serde_json::Value)| Attribute { trait_type: (*kind).to_owned(), value: value.clone() };
    Item {
        name: Some(listing.name.clone()),
        image: Some(listing.image.clone()),
        back_image: listing.back_image.clone(),
        kind: Some(listing.kind.to_owned()),
        mint_address: pulled.mint_address().map(str::to_owned),
        collection_address: pulled.collection_address().map(str::to_owned),
        token_standard: pulled.token_standard().map(str::to_owned),
        attributes: listing.attributes.iter().map(attribute).collect(),
        buyback_price: Some(pulled.price.money()),
        ..Item::bare(ItemId::new(&*pulled.id).expect(OURS))
    }
}
