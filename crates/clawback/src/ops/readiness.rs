//! Whether this process can do its work now, and if not, why.

use parking_lot::RwLock;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// All of its parts must agree. A part says why it is not ready in a sentence.
#[derive(Default)]
pub struct Readiness {
    checks: RwLock<Vec<Check>>,
}

impl Readiness {
    pub fn add(&self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.write().push(Box::new(check));
    }

    /// # Errors
    /// Every reason, one a line.
    pub fn check(&self) -> Result<(), String> {
        let why: Vec<_> = self.checks.read().iter().filter_map(|check| check().err()).collect();
        if why.is_empty() { Ok(()) } else { Err(why.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_is_not_ready_says_why() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Ok(()));
        readiness.add(|| Err("no store".into()));
        readiness.add(|| Ok(()));
        readiness.add(|| Err("no broker".into()));
        assert_eq!(readiness.check(), Err("no store\nno broker".into()));
    }
}
