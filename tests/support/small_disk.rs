//! A disk small enough to be filled: an ext4 in a file, mounted.

use std::{
    fs::{File, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Written at once when filling.
const PIECE: usize = 1 << 20;

/// Unmounted and gone when this drops: after whatever has files open in it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// # Errors
    /// Mounting takes root and a loop device; the text tells what was refused.
    pub fn mount(mebibytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawback-disk-").tempdir()?;
        // The server's user must reach what is in it.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let disk = Self { folder };
        let image = disk.folder.path().join("image");
        File::create(&image)?.set_len(mebibytes << 20)?;
        // -m 0: nothing is reserved for root, so that full is full for everybody.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        std::fs::create_dir(disk.path())?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let zeros = vec![0; PIECE];
        let mut piece = PIECE;
        while piece > 0 {
            match ballast.write(&zeros[..piece]) {
                Ok(_) => {}
                // The rest is smaller than a piece.
                Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
                Err(error) => return Err(error).context("filling the small disk"),
            }
        }
        // Only now it is known what the file system really has.
        let _ = ballast.sync_all();
        Ok(())
    }

    /// Gives the room back that [`fill`](Self::fill) took.
    pub fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still ends in it keeps it until it has.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
