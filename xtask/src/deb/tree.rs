//! The files of a package, as dpkg-deb packs them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell;

/// A directory that stands for the root of a system.
#[derive(Debug)]
pub(super) struct Tree(PathBuf);

impl Tree {
    /// An empty one at this place; what was there goes.
    pub(super) fn create(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::create_dir_all(root)?;
        Ok(Self(root.to_owned()))
    }

    /// A directory of it, made with those above it.
    pub(super) fn directory(&self, path: &str) -> Result<PathBuf> {
        let directory = self.0.join(path);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// Writes a file that everybody may read.
    pub(super) fn text(&self, path: &str, text: &str) -> Result<()> {
        let at = self.place(path)?;
        fs::write(&at, text).with_context(|| format!("cannot write {}", at.display()))?;
        mode(&at, 0o644)
    }

    /// Writes a file that everybody may read, compressed; `path` ends in `.gz`.
    pub(super) fn compressed(&self, path: &str, text: &str) -> Result<()> {
        let plain = path.strip_suffix(".gz").context("the path ends in .gz")?;
        self.text(plain, text)?;
        compress(&self.0.join(plain))
    }

    /// Copies a file that everybody may run, and returns where it is.
    pub(super) fn program(&self, path: &str, from: &str) -> Result<PathBuf> {
        let at = self.place(path)?;
        fs::copy(from, &at).with_context(|| format!("cannot copy {from}"))?;
        mode(&at, 0o755)?;
        Ok(at)
    }

    /// Compresses every file below a directory.
    pub(super) fn compress_below(&self, path: &str) -> Result<()> {
        for file in files(&self.0.join(path))? {
            mode(&file, 0o644)?;
            compress(&file)?;
        }
        Ok(())
    }

    /// The size of all files, as Debian counts: each rounded up.
    pub(super) fn kibibytes(&self) -> Result<u64> {
        let mut sum = 0;
        for file in files(&self.0)? {
            sum += fs::metadata(file)?.len().div_ceil(1024);
        }
        Ok(sum)
    }

    /// Writes the checksums of all files but the package's own, and gives directories their mode.
    pub(super) fn checksums(&self) -> Result<()> {
        let mut names = Vec::new();
        for file in files(&self.0)? {
            let name = file.strip_prefix(&self.0)?;
            if !name.starts_with("DEBIAN") {
                names.push(name.to_str().context("the path is UTF-8")?.to_owned());
            }
        }
        names.sort();
        let script = "cd \"$0\" && exec md5sum \"$@\"";
        let root = self.0.to_str().context("the path is UTF-8")?;
        let mut arguments = vec!["-c", script, root];
        arguments.extend(names.iter().map(String::as_str));
        let sums = shell::output("sh", &arguments)?;
        self.text("DEBIAN/md5sums", &sums)?;
        directories(&self.0)
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let at = self.0.join(path);
        fs::create_dir_all(at.parent().context("a file is in a directory")?)?;
        Ok(at)
    }
}

/// Compresses a file in place, without its name and time inside.
fn compress(path: &Path) -> Result<()> {
    let path = path.to_str().context("the path is UTF-8")?;
    shell::run("gzip", &["-9n", path])
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot change {}", path.display()))
}

/// Every file below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Lets everybody look into every directory, whatever the umask says.
fn directories(directory: &Path) -> Result<()> {
    mode(directory, 0o755)?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            directories(&path)?;
        }
    }
    Ok(())
}
