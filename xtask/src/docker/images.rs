//! `cargo xtask images`: the container images of `deploy/docker`, built on this machine.
//!
//! Nothing is pulled: every image begins with nothing and holds a static program of ours, or
//! Debian's etcd with the libraries that it names. The programs are built for the C library of
//! this machine but linked to it statically, which needs no other target than the host's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Engine;
use crate::sbom::{self, Crates};
use crate::shell;

/// What `cargo xtask images --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask images [NAME…]

  NAME  only this image: catamaran, alerts or etcd; all of them unless given

The images are called catamaran:local, catamaran-alerts:local and catamaran-etcd:local.
DOCKER_HOST says which engine gets them.";

/// One image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// The example API.
    Alerts,
    /// The balancer.
    Catamaran,
    /// The store of the API.
    Etcd,
}

impl Image {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Alerts, Self::Catamaran, Self::Etcd];

    /// The name on the command line, of the Dockerfile and of the package.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Catamaran => "catamaran",
            Self::Etcd => "etcd",
        }
    }

    /// The name that containers are started by.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Alerts => "catamaran-alerts:local",
            Self::Catamaran => "catamaran:local",
            Self::Etcd => "catamaran-etcd:local",
        }
    }

    /// The package that it is built from, if it is one of ours.
    const fn package(self) -> Option<&'static str> {
        match self {
            Self::Alerts | Self::Catamaran => Some(self.name()),
            Self::Etcd => None,
        }
    }
}

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As they are shipped.
    Release,
    /// Soon: for what looks at containers and not at speed.
    Trial,
}

impl Profile {
    /// The name in Cargo.toml, and of the directory of what is built.
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Trial => "trial",
        }
    }
}

/// Builds what the command line says, on the engine that answers.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut images = Vec::new();
    for word in arguments {
        let image = Image::ALL.into_iter().find(|image| image.name() == word);
        images.push(image.with_context(|| format!("no image `{word}`\n\n{HELP}"))?);
    }
    if images.is_empty() {
        images.extend(Image::ALL);
    }
    let engine = Engine::find().context(
        "no container engine answers: start Docker, or say with DOCKER_HOST where it is; \
         `cargo xtask interop` starts one for its tests by itself",
    )?;
    build(&engine, &images, Profile::Release)?;
    shell::say(&sizes(&engine, &images)?);
    Ok(())
}

/// Builds the programs and the images from them.
pub(crate) fn build(engine: &Engine, images: &[Image], profile: Profile) -> Result<()> {
    let programs = match profile {
        Profile::Release => build_static(images)?,
        Profile::Trial => build_for_trials()?,
    };
    for image in images {
        let context = Path::new("target/images").join(image.name());
        prepare(*image, &programs, &context)
            .with_context(|| format!("cannot prepare the image {}", image.tag()))?;
        let dockerfile = format!("deploy/docker/{}.Dockerfile", image.name());
        fs::copy(&dockerfile, context.join("Dockerfile"))
            .with_context(|| format!("cannot read {dockerfile}"))?;
        let directory = context.to_str().context("the path is UTF-8")?;
        let version = format!(
            "org.opencontainers.image.version={}",
            env!("CARGO_PKG_VERSION")
        );
        let arguments = [
            "build",
            "--quiet",
            "--label",
            &version,
            "--tag",
            image.tag(),
        ];
        engine.docker(&[&arguments[..], &[directory]].concat())?;
    }
    Ok(())
}

/// A table of the images with their sizes.
pub(crate) fn sizes(engine: &Engine, images: &[Image]) -> Result<String> {
    let mut text = "image                      MiB".to_owned();
    for image in images {
        let size = engine.docker(&["image", "inspect", "--format", "{{.Size}}", image.tag()])?;
        let bytes: u32 = size.trim().parse().context("a size is a number")?;
        let mebibytes = f64::from(bytes) / f64::from(1 << 20);
        text.push_str(&format!("\n{:24} {mebibytes:5.1}", image.tag()));
    }
    Ok(text)
}

/// Builds our programs statically and returns where they are.
///
/// One after the other: built together, each would get the features that the other one asks of a
/// crate they share.
fn build_static(images: &[Image]) -> Result<PathBuf> {
    for package in images.iter().filter_map(|image| image.package()) {
        run_cargo(Profile::Release, &["--package", package])?;
    }
    directory_of(Profile::Release)
}

/// Builds our programs, and the examples of the API, soon rather than fast, and returns where they are.
///
/// Together: what they share is built once, and what features the other one brings is nothing to a trial.
pub(crate) fn build_for_trials() -> Result<PathBuf> {
    let packages = ["--package", "catamaran", "--package", "alerts"];
    let targets = ["--bins", "--examples"];
    run_cargo(Profile::Trial, &[packages.as_slice(), &targets].concat())?;
    directory_of(Profile::Trial)
}

/// Builds what these arguments say, linked statically.
fn run_cargo(profile: Profile, more: &[&str]) -> Result<()> {
    let host = shell::host()?;
    // With a target of its own the flags do not reach build scripts and procedural macros.
    let mut arguments = vec!["build", "--locked", "--profile", profile.name()];
    arguments.extend(["--target", &host, "--target-dir", "target"]);
    arguments.extend(more);
    shell::run_with("cargo", &arguments, &[("RUSTFLAGS", FLAGS)])
}

fn directory_of(profile: Profile) -> Result<PathBuf> {
    Ok(Path::new("target")
        .join(shell::host()?)
        .join(profile.name()))
}

/// Lays out the files of an image.
fn prepare(image: Image, programs: &Path, context: &Path) -> Result<()> {
    if context.exists() {
        fs::remove_dir_all(context)?;
    }
    fs::create_dir_all(context)?;
    match image {
        Image::Alerts | Image::Catamaran => {
            let program = programs.join(image.name());
            check_static(&program)?;
            fs::copy(&program, context.join(image.name()))?;
            if image == Image::Catamaran {
                sbom::write(&Crates::of_the_program()?, context)?;
            }
        }
        Image::Etcd => {
            let root = context.join("root");
            for name in ["etcd", "etcdctl"] {
                copy_with_libraries(name, &root)?;
            }
            // The volume gets the owner and mode of this directory; etcd insists on 0700.
            let data = context.join("data");
            fs::create_dir(&data)?;
            fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// A program that needs a loader does not start in an empty image.
fn check_static(program: &Path) -> Result<()> {
    let path = program.to_str().context("the path is UTF-8")?;
    let libraries = shell::output("ldd", &[path]).unwrap_or_default();
    if libraries.contains("=>") {
        bail!("{path} is not linked statically:\n{libraries}");
    }
    Ok(())
}

/// Copies a program of the system to the root of an image, and the libraries it names to where it
/// looks for them.
fn copy_with_libraries(name: &str, root: &Path) -> Result<()> {
    let program = Path::new("/usr/bin").join(name);
    if !program.is_file() {
        bail!("{name} is not installed: apt-get install -y etcd-server etcd-client");
    }
    // Where the image of the etcd project has them too.
    let bin = root.join("usr/local/bin");
    fs::create_dir_all(&bin)?;
    fs::copy(&program, bin.join(name))?;
    let listing = shell::output("ldd", &[program.to_str().context("the path is UTF-8")?])?;
    for library in libraries(&listing) {
        let inside = root.join(library.trim_start_matches('/'));
        let dir = inside.parent().context("a library is in a directory")?;
        fs::create_dir_all(dir)?;
        fs::copy(library, &inside).with_context(|| format!("cannot copy {library}"))?;
    }
    Ok(())
}

/// The files that a listing of `ldd` names; the kernel's own page is none.
fn libraries(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// Names of functions stay for backtraces; the rest of the debug information is four fifths of the
/// file.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=debuginfo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_read_off_the_listing() {
        let listing = "\tlinux-vdso.so.1 (0x00007f70b8fe7000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01b6213000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f01b6408000)\n";
        let found: Vec<_> = libraries(listing).collect();
        let libc = "/lib/x86_64-linux-gnu/libc.so.6";
        assert_eq!(found, [libc, "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tstatically linked\n").count(), 0);
    }

    #[test]
    fn every_image_has_its_dockerfile() {
        for image in Image::ALL {
            let path = format!("../deploy/docker/{}.Dockerfile", image.name());
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("FROM scratch\n"), "{path}");
            assert!(text.contains("USER 65532:65532\n"), "{path}");
            assert!(text.contains("HEALTHCHECK "), "{path}");
            for label in ["title", "description", "licenses"] {
                let label = format!("org.opencontainers.image.{label}=");
                assert!(text.contains(&label), "{path} lacks {label}");
            }
        }
    }

    /// The instructions of a Dockerfile from `start` on, without remarks and without where the
    /// program is copied from.
    fn instructions(text: &str, start: &str) -> Vec<String> {
        let (_, rest) = text.split_once(start).unwrap();
        rest.lines()
            .take_while(|line| !line.starts_with("FROM "))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.replace("--from=build /", ""))
            .collect()
    }

    #[test]
    fn the_dockerfile_for_users_makes_the_images_that_are_tested() {
        let read = |name: &str| fs::read_to_string(format!("../deploy/docker/{name}")).unwrap();
        let staged = read("Dockerfile");
        assert!(staged.contains(&format!("RUSTFLAGS=\"{FLAGS}\"")));
        for image in ["catamaran", "alerts"] {
            let ours = instructions(&read(&format!("{image}.Dockerfile")), "FROM scratch\n");
            let theirs = instructions(&staged, &format!("FROM scratch AS {image}\n"));
            assert_eq!(ours, theirs);
            assert!(ours.len() > 3, "{ours:?}");
        }
    }
}
