//! Every operation of the API in one table, of which the router and the description are made.

use super::error::Refused;
use super::state::{self, FrontendState, Overview};
use super::{Event, Plane, config, csv, drain, guard, lists, openapi, peers, process, servers};
use super::{stats, stream, tables, virtual_ips};
use crate::http::Open;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use axum::{Json, Router};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::Arc;

/// One operation.
pub(crate) struct Operation {
    /// In lower case, as the description writes it.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Its name, unique.
    pub(crate) id: &'static str,
    /// What it does, a sentence.
    pub(crate) summary: &'static str,
    /// Parameters behind the `?`.
    pub(crate) query: &'static [Parameter],
    pub(crate) body: Option<SchemaOf>,
    pub(crate) answer: SchemaOf,
    /// The media type of the answer.
    pub(crate) media: &'static str,
    handler: MethodRouter<Arc<Plane>>,
}

/// A parameter behind the `?`.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// As JSON Schema calls it.
    pub(crate) kind: &'static str,
    pub(crate) required: bool,
    pub(crate) doc: &'static str,
}

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The router of everything under `/v1`. Nothing is changed while `open` says that another process has
/// taken over, or is about to.
pub(crate) fn router(plane: Arc<Plane>, open: Open) -> Router {
    // Where HAProxy has it, for monitoring that looks there.
    let mut router = Router::new().route("/stats;csv", get(csv::csv));
    for operation in operations() {
        router = router.route(operation.path, operation.handler);
    }
    let keeper = plane.keeper.clone();
    router
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let may_change = guard::changes(request.method());
            let keeper = keeper.clone().filter(|_| may_change);
            let is_left = may_change && !*open.borrow();
            async move {
                if is_left {
                    return ([(header::CONNECTION, "close")], left()).into_response();
                }
                let answer = next.run(request).await;
                // What an operator is told to be done outlives this process from here on.
                if let Some(keeper) = keeper {
                    keeper.note();
                }
                answer
            }
        }))
        .fallback(|| async {
            Refused::unknown("no such path; `/v1/openapi.json` describes those there are")
        })
        .method_not_allowed_fallback(|| async {
            let told = "no such method on this path; `/v1/openapi.json` describes those there are";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", told)
        })
        .with_state(plane)
}

/// The answer to a change on a connection that another process does not have.
fn left() -> Refused {
    Refused::new(
        StatusCode::CONFLICT,
        "upgrade",
        "another process takes over and would not know of the change; ask again on a new connection",
    )
}

/// Every operation, in the order of the documentation.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = of_state();
    all.extend(of_what_happens());
    all.extend(of_servers());
    all.extend(of_tables());
    all.extend(of_lists());
    all.extend(of_process());
    #[cfg(feature = "etcd")]
    all.extend(of_fleet());
    all
}

fn of_state() -> Vec<Operation> {
    vec![
        Operation::new::<Overview>("get", "/v1/state", "state", get(overview))
            .does("Everything there is to see, as one document."),
        Operation::new::<stats::StatsDocument>("get", "/v1/stats", "stats", get(stats::stats))
            .does("Rates, latencies and errors of the last quarter of an hour, for charts.")
            .asks(&[
                Parameter {
                    name: "since",
                    kind: "number",
                    required: false,
                    doc: "Unix time: only points after it; the last of `times` to go on.",
                },
                Parameter {
                    name: "servers",
                    kind: "boolean",
                    required: false,
                    doc: "Whether servers are told of; they are unless `false`.",
                },
                Parameter {
                    name: "backend",
                    kind: "string",
                    required: false,
                    doc: "Only this backend.",
                },
            ]),
        Operation::new::<String>("get", "/v1/stat.csv", "stat-csv", get(csv::csv))
            .does("The state in the columns of HAProxy's `show stat`; at `/stats;csv` too.")
            .answers("text/csv"),
        Operation::new::<Vec<FrontendState>>(
            "get",
            "/v1/frontends",
            "list-frontends",
            get(frontends),
        )
        .does("The frontends with their listeners and routes."),
        Operation::new::<servers::Changed>(
            "post",
            "/v1/frontends/{frontend}/drain",
            "drain-frontend",
            post(drain::drain_frontend),
        )
        .does("Closes the listeners of a frontend; what it has in flight is finished.")
        .takes::<process::Nothing>(),
        Operation::new::<servers::Changed>(
            "post",
            "/v1/frontends/{frontend}/resume",
            "resume-frontend",
            post(drain::resume_frontend),
        )
        .does("Opens the listeners of a drained frontend again.")
        .takes::<process::Nothing>(),
    ]
}

fn of_what_happens() -> Vec<Operation> {
    vec![
        Operation::new::<Vec<state::Worker>>("get", "/v1/workers", "list-workers", get(workers))
            .does("The workers with their load."),
        Operation::new::<Vec<Event>>("get", "/v1/events", "list-events", get(process::events))
            .does("The last events, the oldest first.")
            .asks(&[Parameter {
                name: "after",
                kind: "integer",
                required: false,
                doc: "Only events with a greater id.",
            }]),
        Operation::new::<String>("get", "/v1/stream", "stream", get(stream::stream))
            .does("The state once a second and events as they happen, as server-sent events.")
            .answers("text/event-stream")
            .asks(&[
                Parameter {
                    name: "after",
                    kind: "integer",
                    required: false,
                    doc: "Only events with a greater id; else those that are kept come first.",
                },
                Parameter {
                    name: "only",
                    kind: "string",
                    required: false,
                    doc: "`events` leaves the state out.",
                },
            ]),
        Operation::new::<Vec<virtual_ips::VirtualIpState>>(
            "get",
            "/v1/virtual-ips",
            "list-virtual-ips",
            get(virtual_ips::list),
        )
        .does("The virtual addresses and who holds them."),
        Operation::new::<peers::ClusterState>("get", "/v1/peers", "list-peers", get(peers::list))
            .does("The peers of the cluster: who is connected, and what each is still to be told."),
        Operation::new::<peers::PushedToAll>(
            "post",
            "/v1/config/push",
            "push-config",
            post(peers::push),
        )
        .does("Has peers serve this node's configuration, but for what is each node's own.")
        .takes::<peers::Push>(),
    ]
}

fn of_servers() -> Vec<Operation> {
    const ONE: &str = "/v1/backends/{backend}/servers/{server}";
    vec![
        Operation::new::<Vec<state::BackendState>>(
            "get",
            "/v1/backends",
            "list-backends",
            get(servers::list),
        )
        .does("The backends with their servers."),
        Operation::new::<state::BackendState>(
            "get",
            "/v1/backends/{backend}",
            "get-backend",
            get(servers::backend),
        )
        .does("One backend with its servers."),
        Operation::new::<servers::ChangedServer>(
            "post",
            "/v1/backends/{backend}/servers",
            "add-server",
            post(servers::add),
        )
        .does("Adds a server to a backend.")
        .takes::<servers::NewServer>(),
        Operation::new::<state::ServerDocument>("get", ONE, "get-server", get(servers::server))
            .does("One server."),
        Operation::new::<servers::ChangedServer>(
            "patch",
            ONE,
            "change-server",
            patch(servers::change),
        )
        .does("Changes the weight, the admin state or the health of a server.")
        .takes::<servers::ServerChange>(),
        Operation::new::<servers::Changed>("delete", ONE, "remove-server", delete(servers::remove))
            .does("Removes a server; what it has in flight is finished.")
            .asks(&[Parameter {
                name: "persist",
                kind: "boolean",
                required: false,
                doc: "Whether it is removed from the configuration file as well.",
            }]),
    ]
}

fn of_tables() -> Vec<Operation> {
    const KEY: Parameter = Parameter {
        name: "key",
        kind: "string",
        required: true,
        doc: "An address, the value of the header or cookie, or `#` and 32 hexadecimal digits.",
    };
    const ENTRY: &str = "/v1/tables/{backend}/entry";
    vec![
        Operation::new::<Vec<tables::Table>>("get", "/v1/tables", "list-tables", get(tables::list))
            .does("The affinity tables."),
        Operation::new::<tables::Page>(
            "get",
            "/v1/tables/{backend}",
            "list-entries",
            get(tables::page),
        )
        .does("Entries of a table, page by page.")
        .asks(PART),
        Operation::new::<tables::Cleared>(
            "delete",
            "/v1/tables/{backend}",
            "clear-table",
            delete(tables::clear),
        )
        .does("Forgets every key of a table."),
        Operation::new::<tables::EntryDocument>("get", ENTRY, "get-entry", get(tables::look_up))
            .does("The entry of a key.")
            .asks(&[KEY]),
        Operation::new::<tables::EntryDocument>("put", ENTRY, "set-entry", put(tables::set))
            .does("Binds a key to a server; a window that is open stays as it is.")
            .takes::<tables::NewEntry>(),
        Operation::new::<servers::Changed>("delete", ENTRY, "delete-entry", delete(tables::delete))
            .does("Forgets a key.")
            .asks(&[KEY]),
    ]
}

fn of_lists() -> Vec<Operation> {
    const LIST: &str = "/v1/lists/{list}";
    const IN_LIST: &str = "/v1/lists/{list}/entry";
    const MAP: &str = "/v1/maps/{map}";
    const IN_MAP: &str = "/v1/maps/{map}/entry";
    vec![
        Operation::new::<Vec<lists::ListState>>(
            "get",
            "/v1/lists",
            "list-lists",
            get(lists::lists),
        )
        .does("The lists of networks."),
        Operation::new::<lists::Networks>("get", LIST, "list-networks", get(lists::list))
            .does("Networks of a list, page by page.")
            .asks(PART),
        Operation::new::<servers::Changed>("put", IN_LIST, "add-network", put(lists::add_network))
            .does("Adds a network to a list.")
            .takes::<lists::NewNetwork>(),
        Operation::new::<servers::Changed>(
            "delete",
            IN_LIST,
            "remove-network",
            delete(lists::remove_network),
        )
        .does("Removes a network from a list, not those within it.")
        .asks(&[
            Parameter {
                name: "network",
                kind: "string",
                required: true,
                doc: "`10.0.0.0/8`, or an address.",
            },
            PERSIST,
        ]),
        Operation::new::<Vec<lists::MapState>>("get", "/v1/maps", "list-maps", get(lists::maps))
            .does("The maps to backends."),
        Operation::new::<lists::Mappings>("get", MAP, "list-mappings", get(lists::map))
            .does("Entries of a map, page by page.")
            .asks(PART),
        Operation::new::<servers::Changed>("put", IN_MAP, "set-mapping", put(lists::set_mapping))
            .does("Has a key of a map lead to a backend.")
            .takes::<lists::NewMapping>(),
        Operation::new::<servers::Changed>(
            "delete",
            IN_MAP,
            "delete-mapping",
            delete(lists::delete_mapping),
        )
        .does("Deletes a key from a map.")
        .asks(&[
            Parameter {
                name: "key",
                kind: "string",
                required: true,
                doc: "As the map's file has it.",
            },
            PERSIST,
        ]),
    ]
}

/// The parameters of what is told page by page.
const PART: &[Parameter] = &[
    Parameter {
        name: "cursor",
        kind: "integer",
        required: false,
        doc: "Where to go on: what the page before said.",
    },
    Parameter {
        name: "limit",
        kind: "integer",
        required: false,
        doc: "Entries at most, 1 to 1,000; 100 unless written.",
    },
];
const PERSIST: Parameter = Parameter {
    name: "persist",
    kind: "boolean",
    required: false,
    doc: "Whether it is written into the file as well.",
};

fn of_process() -> Vec<Operation> {
    vec![
        Operation::new::<state::Process>("get", "/v1/process", "get-process", get(process_state))
            .does("The process as a whole."),
        Operation::new::<process::LogLevel>(
            "get",
            "/v1/log-level",
            "get-log-level",
            get(process::log_level),
        )
        .does("What is logged."),
        Operation::new::<servers::Changed>(
            "put",
            "/v1/log-level",
            "set-log-level",
            put(process::set_log_level),
        )
        .does("Changes what is logged.")
        .takes::<process::LogLevel>(),
        Operation::new::<config::ConfigDocument>(
            "get",
            "/v1/config",
            "get-config",
            get(config::show),
        )
        .does("The configuration that serves."),
        Operation::new::<config::Verdict>(
            "post",
            "/v1/config/check",
            "check-config",
            post(config::check),
        )
        .does("Judges a configuration and says what it would change; nothing changes.")
        .takes::<config::ConfigText>(),
        Operation::new::<config::Applied>(
            "post",
            "/v1/config/apply",
            "apply-config",
            post(config::apply),
        )
        .does("Puts a configuration in place while everything goes on.")
        .takes::<config::NewConfig>(),
        Operation::new::<config::Applied>("post", "/v1/reload", "reload", post(config::reload))
            .does("Puts the configuration file in place as it stands now, or says what that would change.")
            .takes::<config::Reload>(),
        Operation::new::<servers::Changed>("post", "/v1/drain", "drain", post(process::drain))
            .does("Takes no new clients and ends the process when those there are have left.")
            .takes::<process::Nothing>(),
        Operation::new::<process::Succeeded>(
            "post",
            "/v1/upgrade",
            "upgrade",
            post(process::upgrade),
        )
        .does("Has another binary take this one's place, without a connection refused or cut.")
        .takes::<process::NewBinary>(),
        Operation::new::<serde_json::Value>(
            "get",
            "/v1/openapi.json",
            "get-description",
            get(|| async { Json(openapi::document()) }),
        )
        .does("This description."),
    ]
}

#[cfg(feature = "etcd")]
fn of_fleet() -> Vec<Operation> {
    use super::etcd;
    const HISTORY: &str = "/v1/etcd/history";
    vec![
        Operation::new::<crate::etcd::FleetStatus>(
            "get",
            "/v1/etcd",
            "get-etcd",
            get(etcd::status),
        )
        .does("The fleet as this node sees it: etcd, the texts, the servers that registered."),
        Operation::new::<crate::etcd::FleetStatus>(
            "post",
            "/v1/etcd/accept",
            "accept-etcd",
            post(etcd::accept),
        )
        .does("Takes a cluster that is not the one that was known for ours.")
        .takes::<process::Nothing>(),
        Operation::new::<etcd::Put>("put", "/v1/etcd/config", "put-config", put(etcd::put))
            .does("Writes a configuration into etcd, if it could serve on this node.")
            .takes::<etcd::FleetText>(),
        Operation::new::<config::Verdict>(
            "post",
            "/v1/etcd/config/diff",
            "diff-config",
            post(etcd::diff),
        )
        .does("Judges a configuration for the fleet and says what it would change on this node.")
        .takes::<etcd::FleetText>(),
        Operation::new::<etcd::Put>(
            "post",
            "/v1/etcd/config/rollback",
            "rollback-config",
            post(etcd::rollback),
        )
        .does("Writes a configuration that was there before into etcd anew.")
        .takes::<etcd::Rollback>(),
        Operation::new::<Vec<etcd::PutBefore>>("get", HISTORY, "list-history", get(etcd::history))
            .does("The configurations that were put into etcd, the latest first."),
        Operation::new::<etcd::PutBefore>(
            "get",
            "/v1/etcd/history/{revision}",
            "get-history",
            get(etcd::entry),
        )
        .does("One of them, with its text."),
    ]
}

impl Operation {
    fn new<T: JsonSchema>(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        handler: MethodRouter<Arc<Plane>>,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary: "",
            query: &[],
            body: None,
            answer: SchemaGenerator::subschema_for::<T>,
            media: "application/json",
            handler,
        }
    }

    fn does(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    fn asks(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    fn answers(self, media: &'static str) -> Self {
        Self { media, ..self }
    }

    fn takes<T: JsonSchema>(self) -> Self {
        let body: SchemaOf = SchemaGenerator::subschema_for::<T>;
        Self {
            body: Some(body),
            ..self
        }
    }
}

async fn overview(State(plane): State<Arc<Plane>>) -> Json<Overview> {
    Json(Overview::of(&plane))
}

async fn frontends(State(plane): State<Arc<Plane>>) -> Json<Vec<FrontendState>> {
    Json(state::frontends(&plane, &plane.rates.view()))
}

async fn process_state(State(plane): State<Arc<Plane>>) -> Json<state::Process> {
    Json(state::Process::of(&plane))
}

async fn workers(State(plane): State<Arc<Plane>>) -> Json<Vec<state::Worker>> {
    Json(state::workers(&plane, &plane.rates.view()))
}
