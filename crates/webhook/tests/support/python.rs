//! A Python that has `standardwebhooks`, the library that partners verify deliveries with.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const PACKAGE: &str = "standardwebhooks==1.1.0";

const MISSING: &str = "no Python with the package standardwebhooks, and none could be made. Install python3 with its venv module \
     (on Debian and Ubuntu: apt-get install python3-venv) and let pip reach its index; or name a Python that has the package in \
     CLAWBACK_TEST_PYTHON";

/// The first that can import it, or one made in the build folder, which is there the next time.
pub fn with_standardwebhooks() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standardwebhooks");
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = File::create(venv.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let made = venv.join("bin/python3");
    let given = env::var_os("CLAWBACK_TEST_PYTHON").map(PathBuf::from);
    if let Some(python) = given.into_iter().chain([made.clone(), "python3".into()]).find(|python| has_package(python)) {
        return python;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(&made).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]));
    assert!(has_package(&made), "{MISSING}");
    made
}

fn has_package(python: &Path) -> bool {
    let said = Command::new(python).args(["-c", "import standardwebhooks"]).stdin(Stdio::null()).output();
    said.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let said =
        |output: &Output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{MISSING}.\n{command:?}: {}: {}", output.status, said(&output)),
        Err(error) => panic!("{MISSING}.\n{command:?}: {error}"),
    }
}

/// Runs `script` with `input`; its standard output.
pub fn ask(script: &str, input: &str) -> String {
    let mut child = Command::new(with_standardwebhooks())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Python that was found starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
