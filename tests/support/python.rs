//! A Python that has `pika`, for tests with a client of another language.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// The first that can import it. `tests/run` sees to it that there is one.
pub fn with_pika() -> Result<PathBuf> {
    let given = env::var_os("CLAWBACK_TEST_PYTHON").map(PathBuf::from);
    // A Python that a version manager puts first on the PATH does not see the system's packages.
    let usual = [PathBuf::from("python3"), PathBuf::from("/usr/bin/python3")];
    given.into_iter().chain(usual).find(|python| has_pika(python)).context(
        "no Python with the package pika: `apt-get install python3-pika`, or run ./tests/run, which does, \
         or name one in CLAWBACK_TEST_PYTHON",
    )
}

fn has_pika(python: &Path) -> bool {
    let quiet = Command::new(python)
        .args(["-c", "import pika"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}
