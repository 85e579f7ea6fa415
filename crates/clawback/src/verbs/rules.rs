//! `clawback rules preview`

mod sales;

use std::time::Duration;

use chrono_tz::Tz;
use clap::Subcommand;
use clawback_domain::{
    PackId, PartnerId, Time,
    warning::{self, UserSettings, describe_sale, describe_warnings, preview_sale, preview_warnings},
};
use serde::Serialize;
use serde_json::json;

use self::sales::Sales;
use crate::{
    config::{Needs, Partner, Setup, parse_duration},
    context::Context,
    failure::Failure,
    output::printable,
};

#[derive(Debug, Subcommand)]
pub enum RulesVerb {
    /// The rules in words, and when an item would be warned of and sold
    #[command(after_help = "Examples:\n  clawback rules preview --partner acme\n  \
                      clawback rules preview --pack rookie --expires-at 2026-03-01T06:30:00Z --zone Europe/Berlin")]
    Preview(PreviewFlags),
}

#[derive(Debug, clap::Args)]
pub struct PreviewFlags {
    /// [default: all]
    #[arg(long)]
    partner: Option<PartnerId>,
    /// Preview an item of this pack
    #[arg(long, requires = "expires_at")]
    pack: Option<PackId>,
    /// When its buyback window shuts (2026-03-01T06:30:00Z)
    #[arg(long, requires = "pack", value_name = "TIME")]
    expires_at: Option<Time>,
    /// Where its user lives (Europe/Berlin) [default: not known]
    #[arg(long, requires = "expires_at", value_parser = zone)]
    zone: Option<Tz>,
    /// Which automatic sales to count: those that may begin within this
    #[arg(long, default_value = "24h", value_parser = parse_duration, value_name = "SPAN")]
    within: Duration,
}

fn zone(text: &str) -> Result<Tz, String> {
    warning::zone(text).map_err(|error| error.to_string())
}

/// # Errors
/// A partner that does not exist; the store.
pub async fn run(context: &Context, verb: RulesVerb) -> Result<(), Failure> {
    match verb {
        RulesVerb::Preview(flags) => preview(context, &flags).await,
    }
}

async fn preview(context: &Context, flags: &PreviewFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let partners = match &flags.partner {
        Some(_) => std::slice::from_ref(context.partner(&setup, flags.partner.as_ref())?),
        None => &setup.partners,
    };
    let mut previews: Vec<_> = partners.iter().map(|partner| Preview::of(partner, flags)).collect();
    count_sales(context, &setup, flags.within, partners, &mut previews).await?;
    context.out.result(&json!({ "partners": previews }), || previews.iter().map(Preview::text).collect::<Vec<_>>().join("\n"))
}

/// Before there is a store nothing is known that could be sold.
async fn count_sales(
    context: &Context,
    setup: &Setup,
    within: Duration,
    partners: &[Partner],
    previews: &mut [Preview],
) -> Result<(), Failure> {
    let sells = partners.iter().any(|partner| partner.settings.sale.is_some());
    if !sells || !context.has_store(setup) {
        return Ok(());
    }
    let store = context.store(setup).await?;
    let now = context.clock(setup, &*store).await?.now();
    for (partner, preview) in partners.iter().zip(previews) {
        if let Some(rule) = &partner.settings.sale {
            preview.sales = Some(Sales::read(&*store, partner, rule, within, now).await?);
        }
    }
    store.close().await;
    Ok(())
}

/// What holds for a partner.
#[derive(Debug, Serialize)]
struct Preview {
    partner: PartnerId,
    warnings: Vec<String>,
    sale: Vec<String>,
    item: Option<Item>,
    /// `None`: the partner sells nothing automatically, or there is no store yet.
    sales: Option<Sales>,
}

/// What would happen to one item.
#[derive(Debug, Serialize)]
struct Item {
    pack_id: PackId,
    expires_at: Time,
    warnings: Vec<String>,
    sale: String,
}

impl Preview {
    fn of(partner: &Partner, flags: &PreviewFlags) -> Self {
        let (warnings, sale) = (partner.settings.warnings.as_ref(), partner.settings.sale.as_ref());
        let settings = UserSettings { zone: flags.zone, ..UserSettings::default() };
        let item = |(pack, expires_at): (&PackId, Time)| Item {
            pack_id: pack.clone(),
            expires_at,
            warnings: preview_warnings(warnings, &settings, pack, expires_at),
            sale: preview_sale(sale, &settings, expires_at),
        };
        Self {
            partner: partner.id.clone(),
            warnings: describe_warnings(warnings),
            sale: describe_sale(sale),
            item: flags.pack.as_ref().zip(flags.expires_at).map(item),
            sales: None,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.partner);
        let sales = self.sales.as_ref().map(Sales::text).unwrap_or_default();
        for sentence in self.warnings.iter().chain(&self.sale).chain(&sales) {
            text.push_str(&format!("  {}\n", printable(sentence)));
        }
        if let Some(item) = &self.item {
            let at = item.expires_at.format("%Y-%m-%d %H:%M:%SZ");
            text.push_str(&format!("\n  An item of pack {} whose window shuts at {at}:\n", printable(item.pack_id.as_str())));
            for sentence in item.warnings.iter().chain([&item.sale]) {
                text.push_str(&format!("    {sentence}\n"));
            }
        }
        text
    }
}
