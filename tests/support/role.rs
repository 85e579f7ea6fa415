//! A process of the `clawback` binary that a test may stop, kill and read.

use std::{
    env,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{files::tail, http, wait::until};

/// Starting includes looking at broker and store; slow only on a machine with all cores busy.
const READY: Duration = Duration::from_secs(60);

/// The binary under test. Cargo builds it before any test of this package runs, in the same profile, so it is never stale.
const BINARY: &str = if cfg!(feature = "rehearsal") { "clawback-rehearsed" } else { "clawback-under-test" };

/// Where [`BINARY`] is: beside the folder of the test that runs.
pub fn binary() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(BINARY)).find(|binary| binary.exists());
    found.with_context(|| {
        format!(
            "there is no {BINARY} beside {}: `cargo build -p clawback-tests --bins` (with its profile) makes it",
            test.display()
        )
    })
}

/// Running until it is ended; killed when this drops. If the test panics, the last it said is printed.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    log: PathBuf,
    ops_port: u16,
}

impl Role {
    /// `command` is complete but for its output, which goes to `log`. `ops_port` is where it was told to serve `/readyz`.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf, ops_port: u16) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn();
        Ok(Self { name: name.to_owned(), child: child.with_context(|| format!("starting {name}"))?, log, ops_port })
    }

    /// Completes when `/readyz` says yes; fails when the process ends before.
    pub async fn ready(&mut self) -> Result<()> {
        let url = self.ops_url("/readyz");
        self.answers(&url).await
    }

    /// Completes when `GET url` succeeds; fails when the process ends before.
    pub async fn answers(&mut self, url: &str) -> Result<()> {
        let what = format!("{} answers at {url}, or ends", self.name);
        let child = &mut self.child;
        let up = until(&what, READY, || {
            let ended = child.try_wait();
            async { if ended?.is_some() { Ok(false) } else { http::get(url).await.map(|_| true) } }
        });
        let up = up.await.with_context(|| self.last_lines())?;
        ensure!(up, "{} ended instead of getting ready: {}", self.name, self.last_lines());
        Ok(())
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        http::get(&self.ops_url("/metrics")).await
    }

    pub fn ops_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ops_port)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// `kill -9`; completes when the process is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the exit status it leads to within this time.
    pub async fn terminate(mut self, within: Duration) -> Result<ExitStatus> {
        kill_process(self.pid(), Signal::TERM)?;
        self.ends(within).await
    }

    /// SIGSTOP: not another instruction runs, and the process does not know.
    pub fn freeze(&self) -> Result<()> {
        Ok(kill_process(self.pid(), Signal::STOP)?)
    }

    /// SIGCONT: it goes on where it was, as if no time had passed.
    pub fn wake(&self) -> Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether `/readyz` says yes now.
    ///
    /// # Errors
    /// What it says instead, or that it says nothing.
    pub fn is_ready(&self) -> impl Future<Output = Result<()>> + use<> {
        let url = self.ops_url("/readyz");
        async move { http::get(&url).await.map(drop) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exit status, when the process ends by itself within this time.
    pub async fn ends(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        let end = until(&what, within, || {
            let ended = child.try_wait();
            async { ended?.ok_or_else(|| anyhow!("it still runs")) }
        });
        end.await.with_context(|| self.last_lines())
    }

    /// Everything the process has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn last_lines(&self) -> String {
        format!("{} said last:\n{}", self.name, tail(&self.log))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.last_lines());
        }
    }
}
