//! What only a build with the feature `rehearsal` can do: die at crash points, and make a planted mistake.

use std::sync::Arc;

use clawback_domain::planted::Bug;
use parking_lot::Mutex;

use crate::{coverage::Coverage, world::World};

/// From now on this thread makes the mistake `bug`, and whoever reaches a crash point may die there.
#[cfg(feature = "rehearsal")]
pub fn begin(world: &World, coverage: &Arc<Mutex<Coverage>>, bug: Option<Bug>) {
    use clawback_domain::{planted::plant, rehearsal};

    plant(bug);
    let (world, coverage) = (world.clone(), coverage.clone());
    rehearsal::hook(Some(Box::new(move |point| {
        coverage.lock().reach(point);
        if world.fires(point.as_str(), world.rates().at_point(point)) {
            std::panic::resume_unwind(Box::new(rehearsal::Killed));
        }
    })));
}

#[cfg(feature = "rehearsal")]
pub fn end() {
    clawback_domain::planted::plant(None);
    clawback_domain::rehearsal::hook(None);
}

#[cfg(not(feature = "rehearsal"))]
pub fn begin(_: &World, _: &Arc<Mutex<Coverage>>, bug: Option<Bug>) {
    assert!(bug.is_none(), "bugs are planted only with the feature `rehearsal`");
}

#[cfg(not(feature = "rehearsal"))]
pub fn end() {}
