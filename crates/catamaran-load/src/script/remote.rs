//! Modules that are imported by URL: from a directory on disk, or fetched once and kept there.
//!
//! Files lie by host and path, so that what is missing can be put there by hand on a machine without a
//! network, and what is there can be looked at and committed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Kept, RequestText, Url, send_once};

/// Where modules of other machines are kept.
#[derive(Clone, Debug)]
pub(super) struct Imports {
    directory: PathBuf,
}

impl Imports {
    /// Keeps them in `given`, or where the environment says, or among the user's caches.
    pub(super) fn new(given: Option<&Path>) -> Self {
        let variable = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let caches =
            || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let directory = given
            .map(Path::to_owned)
            .or_else(|| variable("CATAMARAN_IMPORT_CACHE"))
            .or_else(|| Some(caches()?.join("catamaran/imports")))
            .unwrap_or_else(|| std::env::temp_dir().join("catamaran-imports"));
        Self { directory }
    }

    /// The text of the module at `url`.
    pub(super) fn text(&self, url: &str) -> Result<String, String> {
        let path = self.path_of(url)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            Err(_) => {}
        }
        let fetched = fetch(url).map_err(|why| {
            format!(
                "{why}; where there is no network, put the file at {}",
                path.display()
            )
        })?;
        // Without a cache the module is there all the same.
        let _ = keep(&path, &fetched);
        Ok(fetched)
    }

    /// Where a module lies: host, port and path are directories.
    fn path_of(&self, url: &str) -> Result<PathBuf, String> {
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        let mut path = self.directory.join(plain(&parsed.authority));
        let target = parsed.target.trim_start_matches('/');
        for part in target.split('/').filter(|part| !part.is_empty()) {
            path.push(plain(part));
        }
        if target.is_empty() || target.ends_with('/') {
            path.push("index.js");
        }
        Ok(path)
    }
}

/// A part of a URL as the name of a file, that leads nowhere else.
fn plain(part: &str) -> String {
    if part.chars().all(|c| c == '.') {
        return format!("dots-{}", part.len());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    let name = part.chars().map(|c| if is_plain(c) { c } else { '_' });
    let name: String = name.take(MAX_NAME).collect();
    if name == part {
        return name;
    }
    // Two names that differ must not become one.
    let hash = part.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{name}-{hash:016x}")
}

/// Writes a file whole or not at all.
fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(directory)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, path)
}

/// Fetches a text. Modules are loaded where nothing may be awaited, so it has a thread of its own.
fn fetch(url: &str) -> Result<String, String> {
    let work = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(follow(url))
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err("the thread that fetches panicked".to_owned()))
}

async fn follow(url: &str) -> Result<String, String> {
    let mut at = Url::parse(url).map_err(|error| error.to_string())?;
    for _ in 0..=MAX_REDIRECTS {
        if !at.is_tls {
            return Err(format!("`{at}`: modules are fetched over https only"));
        }
        let (status, kept) = ask(&at).await.map_err(|why| format!("`{at}`: {why}"))?;
        match status {
            200 if kept.body.len() > MAX_BYTES => {
                return Err(format!("`{at}` has more than {MAX_BYTES} bytes"));
            }
            200 => {
                return String::from_utf8(kept.body)
                    .map_err(|_| format!("`{at}` is no text in UTF-8"));
            }
            301 | 302 | 303 | 307 | 308 => {
                let head = String::from_utf8_lossy(&kept.head).into_owned();
                let fields = head.lines().filter_map(|line| line.split_once(':'));
                let mut found = fields.filter(|(name, _)| name.eq_ignore_ascii_case("location"));
                let location = found.next().map_or("", |(_, value)| value.trim());
                at = at.join(location).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("`{at}` is answered with status {status}")),
        }
    }
    Err(format!("`{url}` leads on more than {MAX_REDIRECTS} times"))
}

async fn ask(url: &Url) -> Result<(u16, Kept), String> {
    let request = RequestText::new("GET", url, &[], None, USER_AGENT);
    let request = request.map_err(|error| error.to_string())?;
    send_once(url, &request, &[], true, TIMEOUT).await
}

const USER_AGENT: &str = concat!("catamaran-load/", env!("CARGO_PKG_VERSION"));
/// For each URL on the way to a module.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;
/// The greatest libraries have a tenth of it.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Characters of a name that are kept; file systems bear 255.
const MAX_NAME: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_lies_where_its_url_says() {
        let imports = Imports::new(Some(Path::new("/c")));
        let path = |url: &str| imports.path_of(url).unwrap().display().to_string();
        assert_eq!(path("https://a.io/lib/1.0/x.js"), "/c/a.io/lib/1.0/x.js");
        assert_eq!(path("https://a.io"), "/c/a.io/index.js");
        assert_eq!(path("https://a.io/lib/"), "/c/a.io/lib/index.js");
        assert!(path("https://a.io:8443/x.js").starts_with("/c/a.io_8443-"));
        assert_eq!(
            path("https://a.io/../../etc/x"),
            "/c/a.io/dots-2/dots-2/etc/x"
        );
        assert_ne!(path("https://a.io/x?a"), path("https://a.io/x?b"));
        assert!(imports.path_of("https://").is_err());
    }

    #[test]
    fn what_is_there_needs_no_network_and_what_is_not_is_told() {
        let name = format!(
            "catamaran-imports-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let directory = std::env::temp_dir().join(name);
        let imports = Imports::new(Some(&directory));
        let told = imports.text("https://127.0.0.1:1/x.js").unwrap_err();
        assert!(
            told.contains("put the file at") && told.contains("x.js"),
            "{told}"
        );
        let told = imports.text("http://127.0.0.1:1/x.js").unwrap_err();
        assert!(told.contains("https only"), "{told}");
        keep(&imports.path_of("https://a.io/x.js").unwrap(), "export {}").unwrap();
        assert_eq!(
            imports.text("https://a.io/x.js").as_deref(),
            Ok("export {}")
        );
        std::fs::remove_dir_all(directory).unwrap();
    }
}
