//! One installation of Clawback: a folder for its configuration, data and logs, and the environment all its roles share.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Role, ports, role};

/// A verb reads or writes some rows and ends; the rest is a busy machine.
const VERB: Duration = Duration::from_secs(60);

/// What a process needs to run at all. Nothing else of the developer's environment reaches a role, so that a forgotten
/// `DATABASE_URL` never does.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"];

/// Removed, folder and all, when this drops: after the roles that run in it.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    environment: BTreeMap<String, String>,
    started: usize,
}

impl Installation {
    /// Empty: no servers, no configuration. Its data directory is its own folder.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawback-installation-").tempdir()?;
        let inherited = INHERITED.iter().filter_map(|&name| Some((name.to_owned(), env::var(name).ok()?)));
        let mut installation = Self { environment: inherited.collect(), folder, started: 0 };
        installation.set("CLAWBACK_DATA_DIR", installation.path("data"));
        Ok(installation)
    }

    /// Sets a variable for every process started from now on.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) -> &mut Self {
        self.environment.insert(variable.to_owned(), value.into());
        self
    }

    /// Writes `clawback.toml` and names it to the roles.
    pub fn configure(&mut self, toml: &str) -> Result<&mut Self> {
        let path = self.path("clawback.toml");
        fs::write(&path, toml).with_context(|| path.clone())?;
        Ok(self.set("CLAWBACK_CONFIG", path))
    }

    /// Starts a role, for example `["worker"]`, without waiting for it. Its log is a file of its own.
    pub fn start(&mut self, arguments: &[&str]) -> Result<Role> {
        self.start_with(arguments, &[])
    }

    /// The same with variables that only this process gets.
    pub fn start_with(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Role> {
        let name = format!("{}-{}", arguments.first().context("which role?")?, self.started);
        self.started += 1;
        let ops_port = ports::free();
        let mut command = self.command(arguments)?;
        command.env("CLAWBACK_OPS_LISTEN", format!("127.0.0.1:{ops_port}")).envs(variables.iter().copied());
        Role::start(&name, command, self.path(&format!("{name}.log")).into(), ops_port)
    }

    /// Starts a role and waits until it is ready.
    pub async fn start_ready(&mut self, arguments: &[&str]) -> Result<Role> {
        let mut role = self.start(arguments)?;
        role.ready().await?;
        Ok(role)
    }

    /// Runs a verb, for example `["migrate"]`, to its end; its standard output. An error shows what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.command(arguments)?);
        let end = tokio::time::timeout(VERB, command.kill_on_drop(true).output()).await;
        let what = || format!("clawback {}", arguments.join(" "));
        let output = end.with_context(|| format!("{} did not end within {VERB:?}", what()))??;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}: {}\n{said}{complained}", what(), output.status);
        Ok(said.into_owned())
    }

    /// The binary with this installation's environment, and no other.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(role::binary()?);
        command.args(arguments).env_clear().envs(&self.environment).current_dir(self.folder.path());
        Ok(command)
    }

    /// Copies what every role has said so far into a folder, which is made if need be.
    pub fn keep_logs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
            }
        }
        Ok(())
    }

    /// A file or folder of this installation.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}
