//! The modules that a script imports, found, compiled once and shared by all realms.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rquickjs_core::loader::{ImportAttributes, Loader, Resolver};
use rquickjs_core::module::Declared;
use rquickjs_core::{Ctx, Error, Module, Persistent, Result};

use super::commonjs;
use super::environment::{self, Named};
use super::files::{Files, read_module};
use super::remote::Imports;
use super::seam::{self, Compiled, Loaded};
use crate::client::Url;
use crate::proto::Schema;

/// What all realms of a run share.
#[derive(Debug)]
pub(super) struct Library {
    imports: Imports,
    /// Where its files are read.
    pub(super) files: Files,
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
    /// By module of the script: why virtual users cannot share an engine.
    obstacles: Mutex<BTreeMap<String, String>>,
    /// Schemas of gRPC, by what they were read from.
    schemas: Mutex<HashMap<String, Arc<Schema>>>,
    /// The elements of each `SharedArray` as JSON.
    arrays: Mutex<HashMap<String, Arc<[String]>>>,
    /// The variables that modules name.
    named: Mutex<Named>,
    /// Whether modules list the properties of objects, or take them apart.
    takes_apart: AtomicBool,
}

impl Library {
    /// Returns one that keeps what it fetches with `imports`, and reads `files`.
    pub(super) fn new(imports: Imports, files: Files) -> Self {
        Self {
            imports,
            files,
            compiled: Mutex::default(),
            obstacles: Mutex::default(),
            schemas: Mutex::default(),
            arrays: Mutex::default(),
            named: Mutex::default(),
            takes_apart: AtomicBool::new(false),
        }
    }

    /// A module by the name that [`Modules`] found; compiled by whoever needs it first.
    pub(super) fn declare<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Result<Module<'js, Declared>> {
        let compiled = self.compiled.lock();
        let known = compiled
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(compiled) = known {
            return seam::load(ctx, &compiled);
        }
        let source = self
            .source_of(name)
            .map_err(|why| Error::new_loading_message(name, why))?;
        if !OWN.iter().any(|(own, _)| *own == name) {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            named.add(&source);
            if environment::takes_apart(&source) {
                self.takes_apart.store(true, Ordering::Relaxed);
            }
        }
        let module = Module::declare(ctx.clone(), name, source)?;
        let compiled = Arc::new(seam::compile(&module)?);
        let mut all = self.compiled.lock();
        let all = all.as_mut().map_err(|_| Error::Unknown)?;
        all.insert(name.to_owned(), compiled);
        Ok(module)
    }

    /// The variables that the modules read so far name.
    pub(super) fn named(&self) -> Named {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.clone()
    }

    /// Whether the modules read so far list the properties of objects, or take them apart.
    pub(super) fn takes_apart(&self) -> bool {
        self.takes_apart.load(Ordering::Relaxed)
    }

    /// Why virtual users of this script cannot share an engine: what stands in the way, and where. `None`
    /// if they can, as far as its modules have been compiled.
    pub(super) fn obstacle(&self) -> Option<String> {
        let obstacles = self.obstacles.lock();
        let obstacles = obstacles.unwrap_or_else(PoisonError::into_inner);
        obstacles.values().next().cloned()
    }

    /// The text of a module whose default export is a list of those of our own modules that are used.
    pub(super) fn imports_of_own(&self) -> String {
        let compiled = self.compiled.lock();
        let compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        // Those that are loaded when they are needed, too: later they could not add to what is shared.
        let has_http = compiled.contains_key("k6/http");
        let used = OWN.iter().map(|(name, _)| *name);
        let used = used.filter(|name| {
            let is_used = compiled.contains_key(*name) || (has_http && HTTP.contains(name));
            *name != HOST && is_used
        });
        let (mut text, mut list) = (String::new(), String::new());
        for (index, name) in used.enumerate() {
            let _ = write!(text, "import * as m{index} from {name:?}; ");
            let _ = write!(list, "m{index}, ");
        }
        let _ = write!(text, "export default [{list}];");
        text
    }

    /// A schema, read by whoever needs it first.
    pub(super) fn schema(
        &self,
        key: &str,
        read: impl FnOnce() -> std::result::Result<Schema, String>,
    ) -> std::result::Result<Arc<Schema>, String> {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = schemas.get(key) {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(read()?);
        schemas.insert(key.to_owned(), Arc::clone(&schema));
        Ok(schema)
    }

    /// The text of a module, as an ES module.
    fn source_of(&self, name: &str) -> std::result::Result<String, String> {
        if let Some((_, source)) = OWN.iter().find(|(own, _)| *own == name) {
            return Ok((*source).to_owned());
        }
        let source = if is_url(name) {
            let fetch = || self.imports.text(name).map_err(io::Error::other);
            let source = self.files.text(name, fetch);
            let source = source.map_err(|error| error.to_string())?;
            let path = name.split(['?', '#']).next().unwrap_or_default();
            as_module(path, source)?
        } else {
            let source = self.files.text(name, || read_module(Path::new(name)));
            let source = source.map_err(|error| error.to_string())?;
            as_module(name, source)?
        };
        if let Some(why) = obstacle_in(name, &source) {
            let obstacles = self.obstacles.lock();
            let mut obstacles = obstacles.unwrap_or_else(PoisonError::into_inner);
            obstacles.insert(name.to_owned(), why);
        }
        Ok(source)
    }

    /// The elements of a shared array, if it was made.
    pub(super) fn array(&self, name: &str) -> Option<Arc<[String]>> {
        let arrays = self.arrays.lock();
        let arrays = arrays.unwrap_or_else(PoisonError::into_inner);
        arrays.get(name).cloned()
    }

    /// Keeps the elements of a shared array.
    pub(super) fn keep_array(&self, name: String, elements: Vec<String>) {
        let arrays = self.arrays.lock();
        let mut arrays = arrays.unwrap_or_else(PoisonError::into_inner);
        arrays.insert(name, elements.into());
    }
}

/// A text as an ES module; `name` says what it is.
fn as_module(name: &str, source: String) -> std::result::Result<String, String> {
    if Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "json")
    {
        return Ok(format!("export default {source};"));
    }
    if is_typescript(Path::new(name)) {
        return javascript_of(name, &source);
    }
    Ok(commonjs::as_module(source))
}

#[cfg(feature = "typescript")]
fn javascript_of(name: &str, source: &str) -> std::result::Result<String, String> {
    super::typescript::to_javascript(name, source)
}

/// What in a module keeps virtual users from sharing an engine, and where.
#[cfg(feature = "typescript")]
fn obstacle_in(name: &str, source: &str) -> Option<String> {
    super::typescript::obstacle_in(name, source)
}

#[cfg(not(feature = "typescript"))]
fn obstacle_in(_name: &str, _source: &str) -> Option<String> {
    // The fuzzer knows what its scripts do, and is built without a parser.
    let is_known = cfg!(feature = "testing");
    (!is_known).then(|| {
        "this program was built without the feature load-typescript, and so without the parser that \
         looks whether virtual users may share an engine"
            .to_owned()
    })
}

#[cfg(not(feature = "typescript"))]
fn javascript_of(_name: &str, _source: &str) -> std::result::Result<String, String> {
    Err("this program was built without TypeScript (the feature load-typescript)".to_owned())
}

/// The modules of one virtual user among many, while they are loaded.
#[derive(Debug, Default)]
pub(super) struct Graph(RefCell<HashMap<String, Persistent<Loaded<'static>>>>);

impl Graph {
    /// A module of this virtual user, read when it is first asked for.
    pub(super) fn declare<'js>(
        &self,
        ctx: &Ctx<'js>,
        library: &Library,
        name: &str,
    ) -> Result<Module<'js, Declared>> {
        if let Some(known) = self.0.borrow().get(name).cloned() {
            return Ok(known.restore(ctx)?.0);
        }
        let module = library.declare(ctx, name)?;
        let kept = Persistent::save(ctx, Loaded(module.clone()));
        self.0.borrow_mut().insert(name.to_owned(), kept);
        Ok(module)
    }

    /// Forgets them, for the next one.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Resolves names: our own modules by name, files by path.
#[derive(Clone, Debug)]
pub(super) struct Modules {
    library: Arc<Library>,
    /// Where virtual users share an engine: the modules of the one that is made.
    graph: Option<Rc<Graph>>,
}

impl Modules {
    /// Those of a realm of its own.
    pub(super) fn of_one(library: Arc<Library>) -> Self {
        Self {
            library,
            graph: None,
        }
    }

    /// Those of virtual users that share an engine, of which one is made at a time.
    pub(super) fn of_many(library: Arc<Library>, graph: Rc<Graph>) -> Self {
        Self {
            library,
            graph: Some(graph),
        }
    }
}

impl Resolver for Modules {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        let mut found =
            locate(base, name).map_err(|why| Error::new_resolving_message(base, name, why))?;
        // The engine knows the modules of other virtual users by their names; it must not find them.
        if self.graph.is_some() && !is_own(&found) {
            found.push(OF_ONE);
        }
        Ok(found)
    }
}

impl Loader for Modules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        match &self.graph {
            Some(graph) if name.ends_with(OF_ONE) => {
                graph.declare(ctx, &self.library, name.trim_end_matches(OF_ONE))
            }
            _ => self.library.declare(ctx, name),
        }
    }
}

/// The name of our own module or the path of a file that `name` means in the module `base`.
fn locate(base: &str, name: &str) -> std::result::Result<String, String> {
    if let Some((_, own)) = STAND_INS.iter().find(|(url, _)| name.starts_with(url)) {
        return Ok((*own).to_owned());
    }
    if is_own(name) {
        return Ok(name.to_owned());
    }
    if let Some((_, remedy)) = MISSING
        .iter()
        .find(|(missing, _)| name.starts_with(missing))
    {
        return Err(format!("module `{name}` is not supported yet; {remedy}"));
    }
    if is_url(name) {
        return Url::parse(name)
            .map(|url| url.to_string())
            .map_err(|error| error.to_string());
    }
    // A file of this machine is nothing that a module of another one may ask for.
    if is_url(base) && (name.starts_with('.') || name.starts_with('/')) {
        let base = Url::parse(base).map_err(|error| error.to_string())?;
        let url = base.join(name).map_err(|error| error.to_string())?;
        return Ok(url.to_string());
    }
    if is_url(base) && name.starts_with("file:") {
        return Err(format!(
            "`{base}` may not import `{name}`, a file of this machine"
        ));
    }
    let is_path = name.starts_with('.') || name.starts_with('/') || name.starts_with("file://");
    if !is_path {
        let own = OWN.iter().map(|(own, _)| *own);
        let own: Vec<_> = own.filter(|own| own.starts_with("k6")).collect();
        return Err(format!(
            "no module is called `{name}`; there are {} and files, which begin with ./ or /",
            own.join(", ")
        ));
    }
    let name = name.strip_prefix("file://").unwrap_or(name);
    let directory = Path::new(base).parent().unwrap_or_else(|| Path::new(""));
    let path = plain(&directory.join(name));
    Ok(path.to_string_lossy().into_owned())
}

/// Whether a module is one of ours.
fn is_own(name: &str) -> bool {
    OWN.iter().any(|(own, _)| *own == name)
}

fn is_url(name: &str) -> bool {
    name.starts_with("https://")
}

/// Whether a file is called like TypeScript.
fn is_typescript(path: &Path) -> bool {
    let endings = ["ts", "mts", "cts"];
    path.extension()
        .is_some_and(|ending| endings.iter().any(|own| ending == *own))
}

/// The path without `.` and `..`, so that a file has one name however it is imported.
fn plain(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if found.file_name().is_some() => {
                found.pop();
            }
            other => found.push(other),
        }
    }
    found
}

/// Ends the name of a module that each virtual user has for itself. No path ends so.
const OF_ONE: char = '\u{1}';

/// The module behind all others.
pub(super) const HOST: &str = "catamaran:host";

/// The module that reads pages, loaded when it is first needed.
pub(super) const HTML: &str = "k6/html";

/// The modules that `k6/http` loads when they are needed.
const HTTP: &[&str] = &[
    "catamaran:complete",
    "catamaran:formdata",
    "catamaran:params",
    "catamaran:response",
    "catamaran:seldom",
];

/// The modules that are there.
const OWN: &[(&str, &str)] = &[
    (HOST, include_str!("modules/host.js")),
    ("k6", include_str!("modules/k6.js")),
    ("k6/crypto", include_str!("modules/crypto.js")),
    ("k6/data", include_str!("modules/data.js")),
    ("k6/encoding", include_str!("modules/encoding.js")),
    ("k6/execution", include_str!("modules/execution.js")),
    (HTML, include_str!("modules/html.js")),
    ("k6/http", include_str!("modules/http.js")),
    ("k6/experimental/csv", include_str!("modules/csv.js")),
    ("k6/experimental/fs", include_str!("modules/fs.js")),
    (
        "k6/experimental/websockets",
        include_str!("modules/websockets.js"),
    ),
    ("k6/metrics", include_str!("modules/metrics.js")),
    ("k6/net/grpc", include_str!("modules/grpc.js")),
    ("k6/timers", include_str!("modules/timers.js")),
    ("k6/websockets", include_str!("modules/websockets.js")),
    ("k6/ws", include_str!("modules/ws.js")),
    ("catamaran:bytes", include_str!("modules/bytes.js")),
    ("catamaran:complete", include_str!("modules/complete.js")),
    ("catamaran:console", include_str!("modules/console.js")),
    ("catamaran:formdata", include_str!("modules/formdata.js")),
    ("catamaran:globals", include_str!("modules/globals.js")),
    ("catamaran:k6-summary", include_str!("modules/summary.js")),
    ("catamaran:k6-utils", include_str!("modules/utils.js")),
    ("catamaran:later", include_str!("modules/later.js")),
    ("catamaran:params", include_str!("modules/params.js")),
    ("catamaran:response", include_str!("modules/response.js")),
    ("catamaran:seldom", include_str!("modules/seldom.js")),
];

/// Libraries that many scripts take from the network, and our own modules in their place.
const STAND_INS: &[(&str, &str)] = &[
    ("https://jslib.k6.io/formdata/", "catamaran:formdata"),
    ("https://jslib.k6.io/k6-summary/", "catamaran:k6-summary"),
    ("https://jslib.k6.io/k6-utils/", "catamaran:k6-utils"),
];

/// Beginnings of names of modules that are not there, and what to do.
const MISSING: &[(&str, &str)] = &[
    ("k6/browser", "browsers are not driven by this load test"),
    (
        "k6/x/",
        "extensions of k6 are Go programs and cannot be loaded",
    ),
    (
        "k6/",
        "leave it out, or write what you need of it in the script",
    ),
    (
        "http://",
        "import it by https://, or download the file and import it by its path",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_located_from_the_module_that_imports() {
        assert_eq!(locate("/a/b.js", "k6/http").as_deref(), Ok("k6/http"));
        assert_eq!(locate("/a/b.js", "./c.js").as_deref(), Ok("/a/c.js"));
        assert_eq!(locate("/a/b.js", "../c/./d.js").as_deref(), Ok("/c/d.js"));
        assert_eq!(locate("/a/b.js", "file:///x.js").as_deref(), Ok("/x.js"));
        let library = "https://jslib.k6.io/k6-utils/1.4.0/index.js";
        assert_eq!(
            locate("/a/b.js", library).as_deref(),
            Ok("catamaran:k6-utils")
        );
    }

    #[test]
    fn modules_of_other_machines_import_from_there() {
        let base = "https://a.io/lib/1.0/index.js";
        let located = |name: &str| locate(base, name);
        assert_eq!(
            located("./b.js").as_deref(),
            Ok("https://a.io/lib/1.0/b.js")
        );
        assert_eq!(located("../c.js").as_deref(), Ok("https://a.io/lib/c.js"));
        assert_eq!(located("/d.js").as_deref(), Ok("https://a.io/d.js"));
        assert_eq!(located("k6/http").as_deref(), Ok("k6/http"));
        assert_eq!(locate("/a/b.js", base).as_deref(), Ok(base));
        assert!(
            located("file:///etc/passwd")
                .unwrap_err()
                .contains("may not import")
        );
    }

    #[test]
    fn what_is_not_there_is_named_with_a_remedy() {
        let told = |name: &str| locate("/a/b.js", name).unwrap_err();
        assert!(told("k6/browser").contains("`k6/browser` is not supported"));
        assert!(told("k6/secrets").contains("leave it out"));
        assert!(told("http://jslib.k6.io/x.js").contains("https://"));
        assert!(told("lodash").contains("begin with ./"));
    }
}
