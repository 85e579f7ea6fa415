//! Secrets: never printed, and read again when their file changes.

use std::{
    fmt, fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// More than any key needs; what is larger is not a secret but the wrong file.
const LARGEST: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The name of the variable.
    Env(String),
    /// Made by us for this process (the sandbox's key).
    Own,
    /// Not needed by this command, and not read.
    Unread,
}

/// A secret and where it comes from. Clones share one cell, so that a rotation reaches all of them.
#[derive(Clone)]
pub struct Secret {
    source: Source,
    current: Arc<RwLock<SecretString>>,
}

impl Secret {
    pub fn own(text: impl Into<String>) -> Self {
        Self::holding(Source::Own, text.into())
    }

    /// A secret that this command does not need: it equals nothing.
    pub fn unread() -> Self {
        Self::holding(Source::Unread, String::new())
    }

    /// # Errors
    /// A sentence that names the file and never its content.
    pub fn from_file(path: PathBuf) -> Result<Self, String> {
        let text = read(&path)?;
        Ok(Self::holding(Source::File(path), text))
    }

    /// # Errors
    /// When the text is empty.
    pub fn from_env(name: &str, text: &str) -> Result<Self, String> {
        let text = checked(text).map_err(|why| format!("the environment variable {name} {why}"))?;
        Ok(Self::holding(Source::Env(name.into()), text))
    }

    fn holding(source: Source, text: String) -> Self {
        Self { source, current: Arc::new(RwLock::new(text.into())) }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The secret itself. What it is handed to must not print it.
    pub fn expose(&self) -> String {
        self.current.read().expose_secret().to_owned()
    }

    /// Whether `text` is the secret, without telling by time how much of it is right.
    pub fn is(&self, text: &str) -> bool {
        let current = self.current.read();
        let current = current.expose_secret();
        !current.is_empty() && bool::from(current.as_bytes().ct_eq(text.as_bytes()))
    }

    /// Reads the file again; `true` when the secret is another now. A file that cannot be read leaves the old one.
    ///
    /// # Errors
    /// A sentence that names the file and never its content.
    pub fn refresh(&self) -> Result<bool, String> {
        self.refresh_if(|_| Ok(()))
    }

    /// The same, asking about another text before it is taken.
    ///
    /// # Errors
    /// A file that cannot be read, or what was asked says no. The old one is left.
    pub fn refresh_if(&self, take: impl FnOnce(&str) -> Result<(), String>) -> Result<bool, String> {
        let Source::File(path) = &self.source else { return Ok(false) };
        let text = read(path)?;
        if self.is(&text) {
            return Ok(false);
        }
        take(&text)?;
        *self.current.write() = text.into();
        Ok(true)
    }
}

/// Two secrets are the same configuration when they come from the same place.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(from {:?})", self.source)
    }
}

/// The text of a secret file, without the white space around it: files end in a newline.
///
/// # Errors
/// A sentence that names the file and never its content.
pub fn read(path: &Path) -> Result<String, String> {
    let open = |path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let shown = path.display();
    let bytes = open(path).map_err(|error| format!("the secret file {shown} cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("the secret file {shown} is larger than 64 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("the secret file {shown} is not UTF-8"))?;
    checked(&text).map_err(|why| format!("the secret file {shown} {why}"))
}

fn checked(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("is empty"),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_reaches_every_clone_and_a_broken_one_reaches_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "sandbox-one\n").unwrap();
        let secret = Secret::from_file(path.clone()).unwrap();
        let clone = secret.clone();
        assert_eq!(secret.refresh(), Ok(false));

        fs::write(&path, "sandbox-two\n").unwrap();
        assert_eq!(secret.refresh(), Ok(true));
        assert!(clone.is("sandbox-two") && !clone.is("sandbox-one") && !clone.is("sandbox-tw"));

        fs::write(&path, " \n").unwrap();
        assert!(secret.refresh().unwrap_err().ends_with("is empty"));
        fs::write(&path, "sandbox-three\n").unwrap();
        assert_eq!(secret.refresh_if(|_| Err("it is refused".into())), Err("it is refused".into()));
        assert!(clone.is("sandbox-two"));
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::from_env("ACME_KEY", "topsecret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(from Env(\"ACME_KEY\"))");
        let error = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.starts_with("the secret file /nowhere/at/all cannot be read"), "{error}");
    }
}
