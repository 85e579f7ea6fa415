//! `clawback list items --user U`

use clawback_domain::{PartnerId, UserId, item::Standing};

use crate::{
    config::Needs,
    context::Context,
    failure::Failure,
    items::{self, Listed, Page, Wanted},
    output,
};

#[derive(Debug, clap::Args)]
pub struct ItemsFlags {
    #[arg(long)]
    user: UserId,
    /// [default: the only one]
    #[arg(long)]
    partner: Option<PartnerId>,
    #[arg(long, value_parser = state)]
    state: Option<Standing>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The `next` of the page before
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn state(text: &str) -> Result<Standing, String> {
    let names = || Standing::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    Standing::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}

/// # Errors
/// Several partners and none named, a cursor that is none of ours; the store.
pub async fn run(context: &Context, flags: ItemsFlags) -> Result<(), Failure> {
    let not_ours = || Failure::usage("--after takes the `next` of a page before");
    let after = flags.after.as_deref().map(|text| items::read_cursor(text).ok_or_else(not_ours)).transpose()?;
    let setup = context.setup(Needs::NOTHING)?;
    let partner = context.partner(&setup, flags.partner.as_ref())?;
    let store = context.store(&setup).await?;
    let pulls = store.pulls_of_user(&partner.id, &flags.user).await?;
    store.close().await;
    let page = items::page(&pulls, &Wanted { state: flags.state, limit: flags.limit, after }).ok_or_else(not_ours)?;
    context.out.result(&page, || text(&page))
}

fn text(page: &Page<'_>) -> String {
    if page.items.is_empty() {
        return "no item is like that".into();
    }
    let header = ["item", "name", "buyback", "window shuts", "state", "looked at", "purchase"];
    let mut text = output::table(header, page.items.iter().map(row));
    if page.omitted > 0 {
        text.push_str(&format!("\n{} older ones are not listed", page.omitted));
    }
    if let Some(next) = &page.next {
        text.push_str(&format!("\nmore with --after {next}"));
    }
    text
}

fn row(listed: &Listed<'_>) -> [String; 7] {
    const SECONDS: &str = "%Y-%m-%d %H:%M:%S";
    let item = &listed.item;
    let shuts = match (item.expires_at, item.expiry_known) {
        (Some(at), _) => at.format(SECONDS).to_string(),
        (None, true) => "never".into(),
        (None, false) => "not read yet".into(),
    };
    [
        item.item_id.to_string(),
        item.name.as_deref().unwrap_or_default().into(),
        item.buyback_price.map(|price| format!("{price} {}", item.currency)).unwrap_or_default(),
        shuts,
        listed.state.to_string(),
        listed.looked_at.map_or_else(|| "never".into(), |at| at.format(SECONDS).to_string()),
        item.purchase_id.to_string(),
    ]
}
