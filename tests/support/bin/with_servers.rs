//! `with-servers COMMAND…` runs a command with `AMQP_URL` and `DATABASE_URL` naming usable servers: those the environment names,
//! else those on the standard local ports, else private ones that end with the command. Says which, a line each.
//!
//! `with-servers --check` starts nothing; it ends with 0 if servers can be had so, with 3 if something must be installed first.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result};
use clawback_tests::{
    PrivatePostgres, PrivateRabbitmq, private_postgres, private_rabbitmq, processes,
    servers::{self, Found},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// Beside 0, 1 and 2: something must be installed. `tests/run` knows it.
const NOT_INSTALLED: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    serve().await.unwrap_or_else(|error| {
        eprintln!("with-servers: {error:#}");
        ExitCode::FAILURE
    })
}

async fn serve() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (Some(first), rest) = (arguments.first(), arguments.get(1..).unwrap_or_default()) else {
        eprintln!("usage: with-servers COMMAND… | --check");
        return Ok(ExitCode::from(2));
    };
    let (rabbitmq, postgres) = (servers::find_rabbitmq().await?, servers::find_postgres().await?);
    if first == "--check" {
        return Ok(check(&rabbitmq, &postgres));
    }
    let status = run(first, rest, rabbitmq, postgres).await?;
    // As a shell does it: 128 and the signal.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn check(rabbitmq: &Found, postgres: &Found) -> ExitCode {
    let mut missing = false;
    for (name, found, installed) in
        [("RabbitMQ", rabbitmq, private_rabbitmq::is_installed()), ("PostgreSQL", postgres, private_postgres::is_installed())]
    {
        // Tests that stop and kill servers need the binaries, whatever runs.
        if !installed {
            eprintln!("{name}'s binaries are not installed here; {found}");
            missing = true;
        }
    }
    if missing { ExitCode::from(NOT_INSTALLED) } else { ExitCode::SUCCESS }
}

async fn run(program: &str, arguments: &[String], rabbitmq: Found, postgres: Found) -> Result<ExitStatus> {
    let folder = Folder::new()?;
    say("RabbitMQ", &rabbitmq);
    let (amqp_url, _rabbitmq) = match rabbitmq {
        Found::Named(url) | Found::Local(url) => (url, None),
        Found::Nothing(_) => {
            let node = PrivateRabbitmq::start().await?;
            folder.put_rabbitmqctl(&node.ctl_script())?;
            (node.url(), Some(node))
        }
    };
    say("PostgreSQL", &postgres);
    let (database_url, _postgres) = match postgres {
        Found::Named(url) | Found::Local(url) => (url, None),
        Found::Nothing(_) => {
            let server = PrivatePostgres::start().await?;
            (server.url(), Some(server))
        }
    };
    let child = Command::new(program)
        .args(arguments)
        .env("AMQP_URL", amqp_url)
        .env("DATABASE_URL", database_url)
        .env("PATH", format!("{}:{}", folder.path().display(), env::var("PATH").unwrap_or_default()))
        .env("TMPDIR", folder.path())
        .spawn()
        .with_context(|| program.to_owned())?;
    wait_through_signals(child).await
}

fn say(name: &str, found: &Found) {
    match found {
        Found::Nothing(why) => eprintln!("{name}: a private one, because {why}"),
        found => eprintln!("{name}: {found}"),
    }
}

/// The command gets Ctrl-C from the terminal itself and SIGTERM from us; we stay to clean up after it.
async fn wait_through_signals(mut child: Child) -> Result<ExitStatus> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the command ended at once")?;
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => kill_process(pid, Signal::TERM)?,
        }
    }
}

/// The `TMPDIR` of everything the command starts, which is how what it leaves behind is found: a test that was cut off by
/// Ctrl-C cannot clean up.
struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawback-tests-").tempdir()?;
        // PostgreSQL runs as another user and must be able to reach its own folder in here.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// First on the command's PATH: tests make virtual hosts with it.
    fn put_rabbitmqctl(&self, script: &str) -> Result<()> {
        let file = self.path().join("rabbitmqctl");
        fs::write(&file, script)?;
        fs::set_permissions(&file, Permissions::from_mode(0o755))?;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let left = processes::kill_all_with(&format!("TMPDIR={}", self.path().display()));
        if left > 0 {
            eprintln!("with-servers: processes that the command left behind, ended: {left}");
        }
    }
}
