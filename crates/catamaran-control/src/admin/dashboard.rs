//! The dashboard: files that are part of the program, served at `/` of the admin address.
//!
//! They hold nothing that a stranger may not see, so no token is asked for them; what they show they
//! ask of the API, which asks for it. A page may load only what comes from here, and no script but
//! these files, so that a name of a server cannot become one.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use xxhash_rust::xxh3::xxh3_64;

/// One file.
#[derive(Clone, Copy)]
struct File {
    /// Where it is served.
    path: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal from $file:literal),+ $(,)?) => {
        &[$(File {
            path: $path,
            text: include_str!(concat!("../../dashboard/", $file)),
        }),+]
    };
}

const FILES: &[File] = files![
    "/" from "index.html",
    "/favicon.svg" from "favicon.svg",
    "/dashboard/base.css" from "base.css",
    "/dashboard/parts.css" from "parts.css",
    "/dashboard/affinity.js" from "affinity.js",
    "/dashboard/api.js" from "api.js",
    "/dashboard/app.js" from "app.js",
    "/dashboard/chart.js" from "chart.js",
    "/dashboard/dialogs.js" from "dialogs.js",
    "/dashboard/dom.js" from "dom.js",
    "/dashboard/events.js" from "events.js",
    "/dashboard/format.js" from "format.js",
    "/dashboard/header.js" from "header.js",
    "/dashboard/keys.js" from "keys.js",
    "/dashboard/node.js" from "node.js",
    "/dashboard/outcomes.js" from "outcomes.js",
    "/dashboard/overview.js" from "overview.js",
    "/dashboard/servers.js" from "servers.js",
    "/dashboard/store.js" from "store.js",
    "/dashboard/theme.js" from "theme.js",
    "/dashboard/topology.js" from "topology.js",
    "/dashboard/words.js" from "words.js",
];

/// The router of the files.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    for file in FILES {
        let tag = format!("\"{:016x}\"", xxh3_64(file.text.as_bytes()));
        let answer = move |headers: HeaderMap| async move { file.answer(&tag, &headers) };
        router = router.route(file.path, get(answer));
    }
    router
}

impl File {
    fn answer(self, tag: &str, headers: &HeaderMap) -> Response {
        let common = [
            (ETAG, tag),
            // It is asked for again each time: another version may have taken over.
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ];
        let has_it = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
        if has_it {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(CONTENT_TYPE, self.media())], self.text).into_response()
    }

    fn media(self) -> &'static str {
        match self.path.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        }
    }
}

/// Nothing inline, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn directory() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard")
    }

    #[test]
    fn every_file_of_the_directory_is_served() {
        let there = std::fs::read_dir(directory()).unwrap();
        let there: BTreeSet<String> = there
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served = FILES.iter().map(|file| match file.path {
            "/" => "index.html".to_owned(),
            path => path.rsplit('/').next().unwrap().to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn what_a_module_imports_is_served_and_nothing_is_inline_or_from_elsewhere() {
        for file in FILES {
            for line in file.text.lines() {
                if let Some((_, from)) = line.split_once(" from \"./") {
                    let name = from.split('"').next().unwrap();
                    let path = format!("/dashboard/{name}");
                    let is_served = FILES.iter().any(|file| file.path == path);
                    assert!(is_served, "{}: {line}", file.path);
                }
                // The namespace of SVG is a name, never fetched.
                let line = line.replace("http://www.w3.org/2000/svg", "");
                let line = line.replace("https://html.spec.whatwg.org", "");
                for bad in [
                    "http:",
                    "https:",
                    "//cdn",
                    "style=\"",
                    " onclick=",
                    "innerHTML",
                    "eval(",
                ] {
                    assert!(!line.contains(bad), "{}: {line}", file.path);
                }
            }
        }
    }

    #[test]
    fn a_file_says_what_it_is_and_is_small() {
        for file in FILES {
            assert!(file.text.lines().count() < 400, "{}", file.path);
            let first = file.text.lines().take(2).collect::<String>();
            let opens =
                first.contains("//! ") || first.contains("/*! ") || first.contains("<!--! ");
            assert!(opens, "{}: {first}", file.path);
        }
    }

    #[test]
    fn a_browser_that_has_a_file_gets_it_once() {
        let file = FILES[0];
        let first = file.answer("\"a\"", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let policy = first.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, "\"a\"".parse().unwrap());
        let again = file.answer("\"a\"", &headers);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}
