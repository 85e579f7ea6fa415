//! A PostgreSQL of a test's own, from the installed binaries: it may be stopped, killed and started again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{SmallDisk, files::tail, ports, wait::until};

/// Starting takes a tenth of a second; recovery after a kill, on a machine with all its cores busy, some seconds.
const START: Duration = Duration::from_secs(60);

/// One server with its own data folder. Everything ends and goes when this drops.
#[derive(Debug)]
pub struct PrivatePostgres {
    binaries: PathBuf,
    folder: TempDir,
    data: PathBuf,
    /// Settings beyond those of a new cluster, as its command line takes them.
    settings: &'static str,
    port: u16,
}

impl PrivatePostgres {
    /// Makes a new cluster (user `postgres`, no password, `fsync` on as in production) and starts it.
    pub async fn start() -> Result<Self> {
        let folder = folder()?;
        let data = folder.path().join("data");
        Self::initialise(folder, data, "").await
    }

    /// With its data on a disk of some hundred MiB; its log is elsewhere, so that it can say that the disk is full.
    pub async fn start_on(disk: &SmallDisk) -> Result<Self> {
        let data = disk.path().join("data");
        fs::create_dir(&data)?;
        give_to_owner(&data)?;
        // A segment is 16 MiB, and a gigabyte of them would be kept otherwise.
        Self::initialise(folder()?, data, "-c max_wal_size=64MB -c min_wal_size=32MB").await
    }

    async fn initialise(folder: TempDir, data: PathBuf, settings: &'static str) -> Result<Self> {
        let server = Self { binaries: binaries()?, folder, data, settings, port: ports::free() };
        // -N: the new cluster's files need not survive a power failure; what is committed later does.
        server.run("initdb", &["-D", &server.data(), "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"])?;
        server.start_again().await?;
        Ok(server)
    }

    /// Of the database `postgres`, as a superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The same port, the same data. Recovers first if the server was killed.
    pub async fn start_again(&self) -> Result<()> {
        // Retried, because right after a kill the dead server's children may still hold its shared memory.
        until("PostgreSQL starts", START, || async { self.pg_ctl_start() }).await
    }

    fn pg_ctl_start(&self) -> Result<()> {
        let at = self.folder.path().display();
        let options = format!("-p {} -k {at} -c listen_addresses=127.0.0.1 {}", self.port, self.settings);
        let log = format!("{at}/log");
        self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-l", &log, "-o", &options, "start"])
            .with_context(|| tail(Path::new(&log)))
    }

    /// Cuts all connections, writes everything out, ends.
    pub fn stop(&self) -> Result<()> {
        self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-m", "fast", "stop"])
    }

    /// Whether the server process is there; it may be recovering.
    pub fn is_running(&self) -> bool {
        self.run("pg_ctl", &["-s", "-D", &self.data(), "status"]).is_ok()
    }

    /// `kill -9` of the server; its children notice and end by themselves.
    pub fn kill(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::KILL)?)
    }

    /// Of the server process, while it runs.
    pub fn pid(&self) -> Result<Pid> {
        let file = format!("{}/postmaster.pid", self.data());
        let text = fs::read_to_string(&file).with_context(|| format!("{file}: is the server running?"))?;
        let pid = text.lines().next().and_then(|line| Pid::from_raw(line.trim().parse().ok()?));
        pid.with_context(|| format!("{file} does not begin with a process id"))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything the server has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }

    pub async fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start_again().await
    }

    fn data(&self) -> String {
        self.data.display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let program = self.binaries.join(program);
        // To a file, not a pipe: the server keeps what it inherits open, and a pipe would never end.
        let said = self.folder.path().join("said");
        let output = fs::File::create(&said)?;
        let status = as_ordinary_user(&program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("PGDATA")
            .env("LC_ALL", "C")
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| program.display().to_string())?;
        ensure!(status.success(), "{}: {status}: {}", program.display(), tail(&said));
        Ok(())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // "immediate": nobody will read these data again. Fails where a test has stopped the server already.
        let _ = self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-m", "immediate", "stop"]);
    }
}

/// Whether the binaries are there, without starting anything.
pub fn is_installed() -> bool {
    binaries().is_ok()
}

/// PostgreSQL refuses to run as root; then it runs as the user its package made.
fn as_ordinary_user(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", OWNER, "--"]).arg(program);
    command
}

const OWNER: &str = "postgres";

/// The newest installed version's folder: Debian keeps it off the PATH.
fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| version.ok())
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, newest)) = found.pop() {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()) {
        Some(folder) => Ok(folder),
        None => bail!("PostgreSQL's initdb is not installed: `apt-get install postgresql`, or run ./tests/run, which does"),
    }
}

fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("clawback-postgres-").tempdir()?;
    give_to_owner(folder.path())?;
    Ok(folder)
}

fn give_to_owner(folder: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        // Given to the server's user, and searchable by it.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let given = Command::new("chown").arg(OWNER).arg(folder).status()?;
        ensure!(given.success(), "there is no user {OWNER}, and PostgreSQL does not run as root");
    }
    Ok(())
}
