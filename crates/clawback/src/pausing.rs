//! Pausing and resuming, for the verbs and the operators' HTTP door alike.

use std::time::Duration;

use clawback_domain::{
    Clock, PackId, PartnerId,
    pause::{CommandKind, Pause, PauseScope},
    reason::WaitCode,
};
use clawback_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// A pause as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownPause {
    pub partner: Option<PartnerId>,
    pub pack: Option<PackId>,
    pub kind: Option<&'static str>,
    pub by: String,
    pub reason: String,
    pub since: clawback_domain::Time,
    /// Made by the upstream's 401: another key lifts it.
    pub unauthorized: bool,
}

impl From<Pause> for ShownPause {
    fn from(pause: Pause) -> Self {
        Self {
            partner: pause.scope.partner,
            pack: pause.scope.pack,
            kind: pause.scope.kind.map(CommandKind::as_str),
            by: pause.by,
            reason: pause.reason,
            since: pause.since,
            unauthorized: pause.refused_key.is_some(),
        }
    }
}

/// What to pause or resume, as a person says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[serde(default)]
    pub all: bool,
    pub partner: Option<PartnerId>,
    pub pack: Option<PackId>,
    pub kind: Option<String>,
}

impl Wanted {
    /// # Errors
    /// Neither all nor a partner, or what does not go together.
    pub fn scope(self) -> Result<PauseScope, String> {
        let kind = match self.kind.as_deref() {
            None => None,
            Some("purchase") => Some(CommandKind::Purchase),
            Some("sellback") => Some(CommandKind::Sellback),
            Some(other) => return Err(format!("kind must be purchase or sellback, not {other:?}")),
        };
        match (self.all, &self.partner, &self.pack) {
            (true, None, None) | (false, Some(_), _) => Ok(PauseScope { partner: self.partner, pack: self.pack, kind }),
            (false, None, None) => Err("say what: all, or a partner".into()),
            (false, None, Some(_)) => Err("a pack is a partner's: name the partner too".into()),
            (true, ..) => Err("all means all: give no partner and no pack".into()),
        }
    }
}

/// `everything`, `partner acme, pack rookie, purchases`.
pub fn describe(scope: &PauseScope) -> String {
    let parts = [
        scope.partner.as_ref().map(|partner| format!("partner {partner}")),
        scope.pack.as_ref().map(|pack| format!("pack {pack}")),
        scope.kind.map(|kind| format!("{}s", kind.as_str())),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "everything".into() } else { parts.join(", ") }
}

/// `false` when it was paused already; the first pause stands.
///
/// # Errors
/// The store's.
pub async fn pause(
    store: &dyn Store,
    clock: &dyn Clock,
    scope: PauseScope,
    by: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    let pause = Pause { scope, by: by.into(), reason: reason.into(), since: clock.now(), refused_key: None };
    store.pause(pause).await
}

/// What a resume did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// `false`: it was not paused.
    pub resumed: bool,
    /// Orders that waited and are due again, spread over the rate.
    pub lifted: u64,
}

/// By then every worker has read that the pause is gone. Lifted earlier, a row could be held once more by a worker that does not
/// know yet, and would then wait for its own time.
const KNOWN_EVERYWHERE: Duration = Duration::from_millis(1200);

/// Takes a pause away and, as soon as every worker knows, makes due what waited for it, `rate_per_second` a second.
///
/// Cut off in between, what waits is tried again by itself within minutes.
///
/// # Errors
/// The store's.
pub async fn resume(
    store: &dyn Store,
    clock: &dyn Clock,
    scope: &PauseScope,
    by: &str,
    reason: &str,
    rate_per_second: u32,
) -> Result<Resumed, StoreError> {
    if !store.resume(scope, by, reason, clock.now()).await? {
        return Ok(Resumed { resumed: false, lifted: 0 });
    }
    clock.sleep(KNOWN_EVERYWHERE).await;
    let codes = [WaitCode::Paused, WaitCode::PackPaused, WaitCode::Unauthorized];
    let lifted = store.lift(scope, &codes, clock.now(), rate_per_second).await?;
    Ok(Resumed { resumed: true, lifted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_all_or_a_partners() {
        let wanted = |json: &str| serde_json::from_str::<Wanted>(json).unwrap().scope();
        let shown = |json: &str| wanted(json).map(|scope| describe(&scope));
        for (json, expected) in [
            (r#"{"all":true}"#, Ok("everything")),
            (r#"{"all":true,"kind":"sellback"}"#, Ok("sellbacks")),
            (r#"{"partner":"acme"}"#, Ok("partner acme")),
            (r#"{"partner":"acme","pack":"rookie","kind":"purchase"}"#, Ok("partner acme, pack rookie, purchases")),
            (r#"{}"#, Err("say what: all, or a partner")),
            (r#"{"pack":"rookie"}"#, Err("a pack is a partner's: name the partner too")),
            (r#"{"all":true,"partner":"acme"}"#, Err("all means all: give no partner and no pack")),
            (r#"{"all":true,"kind":"x"}"#, Err("kind must be purchase or sellback, not \"x\"")),
        ] {
            assert_eq!(shown(json).as_deref().map_err(String::as_str), expected, "{json}");
        }
    }
}
