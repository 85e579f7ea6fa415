//! Runs the binary in a folder of its own, with nothing of the developer's environment.

#![allow(dead_code, reason = "each test file uses its part of this")]

pub mod up;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub struct Place {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What a verb said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The whole of stdout as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?} {:?}", self.out, self.err))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{} {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn failed(self, code: i32, about: &str) -> Self {
        assert_eq!(self.code, code, "{} {}", self.out, self.err);
        assert!(self.err.contains(about), "{about:?} is not in {:?}", self.err);
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("all output is UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Place {
    /// No store yet.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data").display().to_string();
        Self { folder, environment: vec![("CLAWBACK_DATA_DIR".into(), data)] }
    }

    /// With a store.
    pub fn migrated() -> Self {
        let place = Self::empty();
        place.run(&["migrate"]).ok();
        place
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// The URL of the store, for a test that looks into it.
    pub fn store_url(&self) -> String {
        format!("sqlite://{}", self.path("data/clawback.sqlite").display())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawback"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("the binary runs").into()
    }

    /// The same with `--json`; succeeds, and stdout is one JSON value.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).ok().json()
    }

    /// Starts a role; its stderr goes to a file.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let log = self.path("role.log");
        let file = fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let child = self.command(arguments).stdout(Stdio::null()).stderr(file).spawn().expect("the binary runs");
        Running { child, log }
    }
}

/// A role, ended when this drops.
pub struct Running {
    pub child: Child,
    log: PathBuf,
}

impl Running {
    pub fn log(&self) -> String {
        let mut text = String::new();
        let read = fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        read.expect("the log is readable");
        text
    }

    /// A field of the first log line with this message.
    pub fn logged(&mut self, message: &str, field: &str) -> String {
        until(message, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the role ended ({status}): {}", self.log());
            }
            self.log().lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then(|| line[field].as_str().map(str::to_owned)).flatten()
            })
        })
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("it still runs");
    }

    /// The exit code, once it has ended by itself.
    pub fn ended(&mut self) -> i32 {
        until("the role ends", || self.child.try_wait().expect("its status is known")).code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, at most a minute.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < end, "it never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is readable")
}
