//! `clawback pause`, `resume` and `paused`

use clawback_domain::{PackId, PartnerId};
use serde_json::json;

use super::who::WhoFlags;
use crate::{
    config::{Needs, Setup},
    context::Context,
    failure::Failure,
    output,
    pausing::{self, ShownPause, Wanted},
    roles,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  clawback pause --all --reason \"maintenance\"\n  clawback resume --partner acme --reason \
                        \"prices are right again\""
)]
pub struct PauseFlags {
    /// Everything, of every partner
    #[arg(long, conflicts_with_all = ["partner", "pack"], required_unless_present = "partner")]
    all: bool,
    /// One partner
    #[arg(long)]
    partner: Option<PartnerId>,
    /// One pack of that partner
    #[arg(long, requires = "partner")]
    pack: Option<PackId>,
    /// Only purchases, or only sellbacks
    #[arg(long, value_parser = ["purchase", "sellback"])]
    kind: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

impl PauseFlags {
    fn wanted(&self) -> Wanted {
        Wanted { all: self.all, partner: self.partner.clone(), pack: self.pack.clone(), kind: self.kind.clone() }
    }

    /// A pause without a reason is a riddle for whoever meets it.
    fn reason(&self) -> Result<&str, Failure> {
        match self.who.why().trim() {
            "" => Err(Failure::usage("say why with --reason TEXT")),
            reason => Ok(reason),
        }
    }
}

/// # Errors
/// A partner that does not exist; the store.
pub async fn pause(context: &Context, flags: PauseFlags) -> Result<(), Failure> {
    let (setup, scope, reason) = read(context, &flags)?;
    let what = pausing::describe(&scope);
    if flags.dry_run {
        return context.out.result(&json!({ "would_pause": what }), || format!("would pause {what}"));
    }
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let paused = pausing::pause(&*store, &*clock, scope, &flags.who.by(), &reason).await?;
    store.close().await;
    context.out.result(&json!({ "paused": paused, "what": what }), || match paused {
        true => format!("paused {what}; workers hold back within a second"),
        false => format!("{what} was paused already; that pause stands"),
    })
}

/// # Errors
/// Nothing like it is paused; the store.
pub async fn resume(context: &Context, flags: PauseFlags) -> Result<(), Failure> {
    let (setup, scope, reason) = read(context, &flags)?;
    let what = pausing::describe(&scope);
    if flags.dry_run {
        return context.out.result(&json!({ "would_resume": what }), || format!("would resume {what}"));
    }
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let rates = roles::rates(&setup);
    let rate = match &scope.partner {
        Some(partner) => rates(partner),
        None => setup.partners.iter().map(|partner| rates(&partner.id)).min().unwrap_or(1),
    };
    let resumed = pausing::resume(&*store, &*clock, &scope, &flags.who.by(), &reason, rate).await?;
    store.close().await;
    if !resumed.resumed {
        return Err(Failure::failed(format!("{what} is not paused as such; `clawback paused` lists what is")));
    }
    context.out.result(&resumed, || format!("resumed {what}; {} that waited come due", resumed.lifted))
}

fn read(context: &Context, flags: &PauseFlags) -> Result<(Setup, clawback_domain::pause::PauseScope, String), Failure> {
    let reason = flags.reason()?.to_owned();
    let scope = flags.wanted().scope().map_err(Failure::usage)?;
    let setup = context.setup(Needs::NOTHING)?;
    if let Some(partner) = &scope.partner {
        context.partner(&setup, Some(partner))?;
    }
    Ok((setup, scope, reason))
}

/// # Errors
/// The store.
pub async fn paused(context: &Context) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let pauses = store.pauses().await?;
    store.close().await;
    let rows: Vec<_> = pauses.iter().map(|pause| pausing::describe(&pause.scope)).collect();
    let pauses: Vec<ShownPause> = pauses.into_iter().map(Into::into).collect();
    context.out.result(&json!({ "pauses": &pauses }), || {
        if pauses.is_empty() {
            return "nothing is paused".into();
        }
        let row = |(what, pause): (&String, &ShownPause)| {
            [what.clone(), pause.since.format("%Y-%m-%d %H:%M:%S").to_string(), pause.by.clone(), pause.reason.clone()]
        };
        output::table(["what", "since", "by", "why"], rows.iter().zip(&pauses).map(row))
    })
}
