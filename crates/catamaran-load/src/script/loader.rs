//! Finds the modules that a script imports.

use std::path::{Component, Path, PathBuf};

use rquickjs_core::loader::{ImportAttributes, Loader, Resolver};
use rquickjs_core::module::Declared;
use rquickjs_core::{Ctx, Error, Module, Result};

/// Resolves names: our own modules by name, files by path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modules;

impl Resolver for Modules {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        locate(base, name).map_err(|why| Error::new_resolving_message(base, name, why))
    }
}

impl Loader for Modules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        if let Some((_, source)) = OWN.iter().find(|(own, _)| *own == name) {
            return Module::declare(ctx.clone(), name, *source);
        }
        let source = std::fs::read_to_string(name)
            .map_err(|error| Error::new_loading_message(name, error.to_string()))?;
        if Path::new(name)
            .extension()
            .is_some_and(|ending| ending == "json")
        {
            let text = "JSON is no module; read it with JSON.parse(open(path))";
            return Err(Error::new_loading_message(name, text));
        }
        Module::declare(ctx.clone(), name, source)
    }
}

/// The name of our own module or the path of a file that `name` means in the module `base`.
fn locate(base: &str, name: &str) -> std::result::Result<String, String> {
    if OWN.iter().any(|(own, _)| *own == name) {
        return Ok(name.to_owned());
    }
    if let Some((_, remedy)) = MISSING
        .iter()
        .find(|(missing, _)| name.starts_with(missing))
    {
        return Err(format!("module `{name}` is not supported yet; {remedy}"));
    }
    let is_path = name.starts_with('.') || name.starts_with('/') || name.starts_with("file://");
    if !is_path {
        let own: Vec<_> = OWN.iter().map(|(own, _)| *own).collect();
        return Err(format!(
            "no module is called `{name}`; there are {} and files, which begin with ./ or /",
            own.join(", ")
        ));
    }
    let name = name.strip_prefix("file://").unwrap_or(name);
    if [".ts", ".tsx", ".mts"]
        .iter()
        .any(|ending| name.ends_with(ending))
    {
        return Err(format!(
            "`{name}`: TypeScript is not supported yet; strip the types first, as with `esbuild --format=esm`"
        ));
    }
    let directory = Path::new(base).parent().unwrap_or_else(|| Path::new(""));
    let path = plain(&directory.join(name));
    Ok(path.to_string_lossy().into_owned())
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

/// The modules that are there.
const OWN: &[(&str, &str)] = &[
    ("k6", include_str!("modules/k6.js")),
    ("k6/http", include_str!("modules/http.js")),
    ("k6/metrics", include_str!("modules/metrics.js")),
];

/// Beginnings of names of modules that are not, and what to do.
const MISSING: &[(&str, &str)] = &[
    ("k6/browser", "browsers are not driven by this load test"),
    (
        "k6/x/",
        "extensions of k6 are Go programs and cannot be loaded",
    ),
    ("k6/ws", "test WebSockets with k6 meanwhile"),
    ("k6/websockets", "test WebSockets with k6 meanwhile"),
    ("k6/net/grpc", "test gRPC with k6 meanwhile"),
    ("k6/execution", "use __VU, __ITER and __ENV"),
    ("k6/data", "read the file with open() and JSON.parse()"),
    (
        "k6/",
        "leave it out, or write what you need of it in the script",
    ),
    ("https://", "download the file and import it by its path"),
    ("http://", "download the file and import it by its path"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_located_from_the_module_that_imports() {
        let located = |base: &str, name: &str| locate(base, name);
        assert_eq!(located("/a/b.js", "k6/http").as_deref(), Ok("k6/http"));
        assert_eq!(located("/a/b.js", "./c.js").as_deref(), Ok("/a/c.js"));
        assert_eq!(located("/a/b.js", "../c/./d.js").as_deref(), Ok("/c/d.js"));
        assert_eq!(located("/a/b.js", "file:///x.js").as_deref(), Ok("/x.js"));
    }

    #[test]
    fn what_is_not_there_is_named_with_a_remedy() {
        let told = |name: &str| locate("/a/b.js", name).unwrap_err();
        assert!(told("k6/browser").contains("`k6/browser` is not supported"));
        assert!(told("k6/crypto").contains("leave it out"));
        assert!(told("https://jslib.k6.io/x.js").contains("download"));
        assert!(told("lodash").contains("begin with ./"));
        assert!(told("./a.ts").contains("TypeScript"));
    }
}
