//! Pauses: what an operator, or a 401, has stopped. Polling, reconciling and warnings go on.

use crate::{PackId, PartnerId, Time};

/// What a pause covers. Both `None`: everything of that kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PauseScope {
    pub partner: Option<PartnerId>,
    /// Only together with a partner.
    pub pack: Option<PackId>,
    pub kind: Option<CommandKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandKind {
    Purchase,
    Sellback,
}

impl CommandKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            CommandKind::Purchase => "purchase",
            CommandKind::Sellback => "sellback",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "purchase" => Some(CommandKind::Purchase),
            "sellback" => Some(CommandKind::Sellback),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub scope: PauseScope,
    pub by: String,
    pub reason: String,
    pub since: Time,
    /// Set when a 401 made it: the fingerprint of the key that was refused. Another key lifts it.
    pub refused_key: Option<String>,
}

impl PauseScope {
    pub fn partner(partner: PartnerId) -> Self {
        Self { partner: Some(partner), ..Self::default() }
    }

    /// Whether this stops every command of `kind` of `partner`, so that its queue need not be consumed.
    pub fn stops_partner(&self, partner: &PartnerId, kind: CommandKind) -> bool {
        self.pack.is_none() && self.covers(partner, kind)
    }

    /// Whether this stops a command for `pack`.
    pub fn stops_pack(&self, partner: &PartnerId, pack: &PackId, kind: CommandKind) -> bool {
        self.covers(partner, kind) && self.pack.as_ref().is_some_and(|paused| paused == pack)
    }

    fn covers(&self, partner: &PartnerId, kind: CommandKind) -> bool {
        self.partner.as_ref().is_none_or(|paused| paused == partner) && self.kind.is_none_or(|paused| paused == kind)
    }
}
