//! How far a file has come, beside the file: an interrupted run goes on from there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clawback_domain::PartnerId;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    partner: PartnerId,
    /// Of the file, to notice that it is another one.
    bytes: u64,
    /// Commands handed in, from the start without a gap.
    done: u64,
}

pub struct Progress {
    path: PathBuf,
    mark: Mark,
}

impl Progress {
    /// Where an earlier run of this file for this partner ended; 0 for a new one, or with `restart`.
    ///
    /// # Errors
    /// The file has changed since.
    pub fn of(file: &Path, partner: &PartnerId, restart: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("{}: {error}", file.display()));
        let bytes = fs::metadata(file).map_err(failed)?.len();
        let mut name = file.as_os_str().to_owned();
        name.push(".clawback-progress");
        let path = PathBuf::from(name);
        let fresh = Mark { partner: partner.clone(), bytes, done: 0 };
        let mark = match fs::read(&path) {
            Ok(text) if !restart => serde_json::from_slice::<Mark>(&text).ok(),
            _ => None,
        };
        match mark {
            None => Ok(Self { path, mark: fresh }),
            Some(mark) if (&mark.partner, mark.bytes) == (&fresh.partner, fresh.bytes) => Ok(Self { path, mark }),
            Some(_) => Err(Failure::usage(format!(
                "an earlier run of {} was interrupted, and the file or the partner is another now; --restart begins anew (what was \
                 handed in before is not bought twice)",
                file.display()
            ))),
        }
    }

    pub fn done(&self) -> u64 {
        self.mark.done
    }

    /// # Errors
    /// The mark cannot be written.
    pub fn set(&mut self, done: u64) -> Result<(), Failure> {
        self.mark.done = done;
        let text = serde_json::to_vec(&self.mark).expect("a mark has string keys");
        fs::write(&self.path, text).map_err(|error| Failure::failed(format!("{}: {error}", self.path.display())))
    }

    /// All of it is handed in.
    pub fn forget(self) {
        // A mark that stays says "all done", which is true.
        let _ = fs::remove_file(self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_it_was_interrupted_unless_the_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("commands.ndjson");
        let (acme, beta) = (PartnerId::new("acme").unwrap(), PartnerId::new("beta").unwrap());
        fs::write(&file, "one\ntwo\n").unwrap();
        let mut progress = Progress::of(&file, &acme, false).unwrap();
        assert_eq!(progress.done(), 0);
        progress.set(1).unwrap();
        assert_eq!(Progress::of(&file, &acme, false).unwrap().done(), 1);
        assert!(Progress::of(&file, &beta, false).is_err());
        assert_eq!(Progress::of(&file, &acme, true).unwrap().done(), 0);

        fs::write(&file, "one\ntwo\nthree\n").unwrap();
        assert!(Progress::of(&file, &acme, false).is_err());
        progress.forget();
        assert_eq!(Progress::of(&file, &acme, false).unwrap().done(), 0);
    }
}
