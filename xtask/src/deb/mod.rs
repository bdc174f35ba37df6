//! `cargo xtask deb`: the Debian package, from a release build.
//!
//! It is laid out here and packed by dpkg-deb; what is in it besides the program lies in
//! `packaging`. The same commit and toolchain give the same bytes: every time in it is the commit's.

mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::tree::Tree;
use crate::sbom::{self, Crates};
use crate::shell;

/// What `cargo xtask deb --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask deb

Builds the program (release) and packs it: target/deb/catamaran_VERSION_ARCH.deb.";

/// Builds the package as [`HELP`] says.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("`deb` takes no arguments\n\n{HELP}");
    }
    let package = build()?;
    let kibibytes = fs::metadata(&package)?.len() / 1024;
    shell::say(&format!("{}: {kibibytes} KiB", package.display()));
    Ok(())
}

/// Builds the package and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    shell::build_release("catamaran")?;
    let crates = Crates::of_the_program()?;
    let release = Release::of_this_tree(&crates.program().version)?;
    let root = Path::new("target/deb/root");
    let tree = Tree::create(root)?;
    add_program(&tree)?;
    add_manual(&tree, &release)?;
    add_settings(&tree)?;
    add_documents(&tree, &release, &crates)?;
    add_control(&tree, &release)?;
    let package = PathBuf::from(format!("target/deb/{}.deb", release.file_stem()));
    let arguments = ["--root-owner-group", "-Zxz", "--build"];
    let paths = [
        "target/deb/root",
        package.to_str().context("the path is UTF-8")?,
    ];
    // Times in the archive are not later than this, and the same everywhere.
    let epoch = release.epoch.as_str();
    shell::run_with(
        "dpkg-deb",
        &[&arguments[..], &paths].concat(),
        &[("SOURCE_DATE_EPOCH", epoch)],
    )?;
    Ok(package)
}

/// What is packed.
struct Release {
    /// The workspace's, with Debian's part.
    version: String,
    architecture: String,
    /// Of the commit: seconds since 1970, a date, and a date as Debian's changelogs have it.
    epoch: String,
    date: String,
    mail_date: String,
}

impl Release {
    fn of_this_tree(version: &str) -> Result<Self> {
        let log = |format: &str| -> Result<String> {
            let format = format!("--format={format}");
            let said = shell::output("git", &["log", "-1", "--date=rfc2822", &format])?;
            Ok(said.trim().to_owned())
        };
        let architecture = shell::output("dpkg", &["--print-architecture"])?;
        Ok(Self {
            version: format!("{version}-1"),
            architecture: architecture.trim().to_owned(),
            epoch: log("%ct")?,
            date: log("%cs")?,
            mail_date: log("%cd")?,
        })
    }

    fn file_stem(&self) -> String {
        format!("catamaran_{}_{}", self.version, self.architecture)
    }
}

fn add_program(tree: &Tree) -> Result<()> {
    let to = tree.program("usr/bin/catamaran", BUILT)?;
    // As in the images: the names of functions stay, for backtraces.
    shell::run("strip", &["--strip-debug", to.to_str().context("UTF-8")?])
}

fn add_manual(tree: &Tree, release: &Release) -> Result<()> {
    let man = tree.directory("usr/share/man")?;
    let man = man.to_str().context("UTF-8")?;
    shell::output(BUILT, &["man", man, "--date", &release.date])?;
    tree.compress_below("usr/share/man")?;
    for (shell, path) in COMPLETIONS {
        let script = shell::output(BUILT, &["completions", shell])?;
        tree.text(path, &script)?;
    }
    Ok(())
}

fn add_settings(tree: &Tree) -> Result<()> {
    for (from, to) in SETTINGS {
        let text = fs::read_to_string(from).with_context(|| format!("cannot read {from}"))?;
        tree.text(to, &text)?;
    }
    Ok(())
}

fn add_documents(tree: &Tree, release: &Release, crates: &Crates) -> Result<()> {
    let at = |name: &str| format!("{DOC}/{name}");
    let copyright = fs::read_to_string("packaging/debian/copyright")?;
    tree.text(&at("copyright"), &copyright)?;
    tree.compressed(&at("changelog.gz"), &fs::read_to_string("CHANGELOG.md")?)?;
    let Release {
        version, mail_date, ..
    } = release;
    let entry = format!(
        "catamaran ({version}) unstable; urgency=medium\n\n  * What changed: changelog.gz.\n\n \
         -- {MAINTAINER}  {mail_date}\n"
    );
    tree.compressed(&at("changelog.Debian.gz"), &entry)?;
    tree.compressed(
        &at("third-party-licenses.gz"),
        &sbom::notices::text(crates)?,
    )?;
    let bill = sbom::write(crates, Path::new("target/sbom"))?;
    tree.compressed(&at("catamaran.cdx.json.gz"), &fs::read_to_string(bill)?)?;
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        let name = path.file_name().context("an entry has a name")?;
        if path
            .extension()
            .is_some_and(|end| end == "md" || end == "json")
        {
            tree.text(&at(&name.to_string_lossy()), &fs::read_to_string(&path)?)?;
        }
    }
    for entry in fs::read_dir("docs/examples")? {
        let path = entry?.path();
        let name = path.file_name().context("an entry has a name")?;
        let to = at(&format!("examples/{}", name.to_string_lossy()));
        tree.text(&to, &fs::read_to_string(&path)?)?;
    }
    let overrides = fs::read_to_string("packaging/debian/lintian-overrides")?;
    tree.text("usr/share/lintian/overrides/catamaran", &overrides)
}

fn add_control(tree: &Tree, release: &Release) -> Result<()> {
    let symbols = shell::output("objdump", &["-p", BUILT])?;
    let libc = newest_glibc(&symbols).context("the program names no version of libc")?;
    let Release {
        version,
        architecture,
        ..
    } = release;
    let kibibytes = tree.kibibytes()?;
    let control = format!(
        "Package: catamaran\nVersion: {version}\nArchitecture: {architecture}\nSection: net\n\
         Priority: optional\nMaintainer: {MAINTAINER}\nInstalled-Size: {kibibytes}\n\
         Pre-Depends: init-system-helpers (>= 1.54~)\n\
         Depends: adduser, libc6 (>= {libc}), libgcc-s1 (>= 4.2), procps\n\
         Suggests: logrotate\n{DESCRIPTION}"
    );
    tree.text("DEBIAN/control", &control)?;
    let kept: Vec<_> = SETTINGS
        .iter()
        .filter(|(_, to)| to.starts_with("etc/"))
        .map(|(_, to)| format!("/{to}\n"))
        .collect();
    tree.text("DEBIAN/conffiles", &kept.concat())?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = format!("packaging/debian/{script}");
        tree.program(&format!("DEBIAN/{script}"), &from)?;
    }
    tree.checksums()
}

/// The newest version of the C library that a listing of `objdump -p` asks for.
fn newest_glibc(listing: &str) -> Option<String> {
    let words = listing.split_whitespace();
    let versions = words.filter_map(|word| {
        let numbers = word.strip_prefix("GLIBC_")?.split('.');
        numbers
            .map(|number| number.parse().ok())
            .collect::<Option<Vec<u32>>>()
    });
    let newest = versions.max()?;
    let numbers: Vec<_> = newest.iter().map(ToString::to_string).collect();
    Some(numbers.join("."))
}

/// The program as `shell::build_release` leaves it.
const BUILT: &str = "target/release/catamaran";
const DOC: &str = "usr/share/doc/catamaran";
const MAINTAINER: &str = "The catamaran authors <catamaran@packages.invalid>";

const DESCRIPTION: &str = "Description: load balancer with redundancy built in\n \
    Catamaran balances HTTP, TCP and UDP over servers, watches them, keeps\n \
    clients on theirs, tries again what may be tried again, and can hold a\n \
    virtual address with a second machine by VRRP. It is changed while it\n \
    runs: by its configuration file, which is checked as a whole first, or by\n \
    \"catamaran ctl\".\n";

/// Files that are put as they are: from where to where.
const SETTINGS: &[(&str, &str)] = &[
    (
        "packaging/debian/catamaran.toml",
        "etc/catamaran/catamaran.toml",
    ),
    ("packaging/debian/logrotate", "etc/logrotate.d/catamaran"),
    (
        "packaging/systemd/catamaran.service",
        "usr/lib/systemd/system/catamaran.service",
    ),
    (
        "packaging/systemd/catamaran.socket",
        "usr/lib/systemd/system/catamaran.socket",
    ),
];

/// Where Debian's shells look for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/catamaran"),
    ("zsh", "usr/share/zsh/vendor-completions/_catamaran"),
    ("fish", "usr/share/fish/vendor_completions.d/catamaran.fish"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_the_c_library_is_found_by_number() {
        let listing = "  required from libc.so.6:\n    0x0d696913 0x00 11 GLIBC_2.3\n    \
            0x09691a75 0x00 03 GLIBC_2.2.5\n    0x0 0x00 07 GLIBC_2.34\n  0x0 0x00 05 GCC_3.0\n";
        assert_eq!(newest_glibc(listing).as_deref(), Some("2.34"));
        assert_eq!(newest_glibc("nothing"), None);
    }

    #[test]
    fn what_the_package_is_made_of_is_there() {
        for (from, _) in SETTINGS {
            assert!(Path::new("..").join(from).is_file(), "{from}");
        }
        let unit = fs::read_to_string("../packaging/systemd/catamaran.service").unwrap();
        let started = "ExecStart=/usr/bin/catamaran run -c /etc/catamaran/catamaran.toml";
        assert!(unit.contains(started) && unit.contains("User=catamaran"));
    }
}
