//! What the API answers, as tables.

use super::table::{Heading, Table, without_controls};
use Heading::{Left, Right};
use serde_json::Value;

/// The process in a few lines, its frontends and its backends.
pub(crate) fn process_line(state: &Value) -> String {
    let process = &state["process"];
    let config = &process["config"];
    let workers = state["workers"].as_array().map_or(0, Vec::len);
    let lag = state["workers"].as_array().into_iter().flatten();
    let lag = lag
        .filter_map(|worker| worker["lag_ms"].as_f64())
        .fold(0.0, f64::max);
    let mut lines = format!(
        "catamaran {}, {}, pid {}, up {}\n{} on {}, at most {lag:.1} ms \
         late\nconfiguration {} ({})\n",
        text(&process["version"]),
        text(&process["readiness"]),
        text(&process["pid"]),
        duration(&process["uptime_seconds"]),
        counted(process["connections"].as_u64().unwrap_or(0), "connection"),
        counted(workers as u64, "worker"),
        text(&config["source"]),
        text(&config["digest"]),
    );
    if let Some(error) = config["last_error"].as_str() {
        lines.push_str("the last reload was refused: ");
        lines.push_str(error);
        lines.push('\n');
    }
    lines
}

/// The frontends of a state.
pub(crate) fn frontends(frontends: &Value) -> Table {
    let mut table = Table::new(&[
        Left("FRONTEND"),
        Left("PROTOCOL"),
        Left("LISTENERS"),
        Right("CONNS"),
        Right("REQ/S"),
        Right("FAIL/S"),
        Right("P50 MS"),
        Right("P99 MS"),
        Right("TOTAL"),
    ]);
    for frontend in each(frontends) {
        let rates = &frontend["rates"];
        let listeners = each(&frontend["listeners"]).map(|listener| text(&listener["address"]));
        let listeners: Vec<String> = listeners.collect();
        table.row([
            text(&frontend["name"]),
            text(&frontend["protocol"]),
            listeners.join(" "),
            text(&frontend["connections"]),
            number(&rates["exchanges"]),
            number(&rates["failures"]),
            number(&rates["latency_ms"]["p50"]),
            number(&rates["latency_ms"]["p99"]),
            text(&frontend["totals"]["exchanges"]),
        ]);
    }
    table
}

/// The backends of a state.
pub(crate) fn backends(backends: &Value) -> Table {
    let mut table = Table::new(&[
        Left("BACKEND"),
        Left("BALANCE"),
        Right("USABLE"),
        Right("IN FLIGHT"),
        Right("WAITING"),
        Right("BOUND"),
        Left("NOTE"),
    ]);
    for backend in each(backends) {
        let all = backend["servers"].as_array().map_or(0, Vec::len);
        let usable = backend["usable"].as_u64().unwrap_or(0);
        let note = match (usable, backend["panic"] == true) {
            (0, _) => "down",
            (_, true) => "panic: ejections are ignored",
            _ => "",
        };
        table.row([
            text(&backend["name"]),
            text(&backend["balance"]),
            format!("{usable}/{all}"),
            text(&backend["in_flight"]),
            text(&backend["waiting"]),
            text(&backend["stick_entries"]),
            note.to_owned(),
        ]);
    }
    table
}

/// The servers of backends.
pub(crate) fn servers<'a>(backends: impl Iterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&[
        Left("SERVER"),
        Left("ADDRESS"),
        Left("STATE"),
        Left("HEALTH"),
        Right("WEIGHT"),
        Right("IN FLIGHT"),
        Right("CONNS"),
        Right("REQ/S"),
        Right("FAIL/S"),
        Right("MS"),
        Left("LAST CHECK"),
    ]);
    for backend in backends {
        for server in each(&backend["servers"]) {
            table.row([
                format!("{}/{}", text(&backend["name"]), text(&server["name"])),
                text(&server["address"]),
                text(&server["admin"]),
                health(server),
                text(&server["weight"]),
                text(&server["in_flight"]),
                text(&server["connections"]),
                number(&server["rates"]["requests"]),
                number(&server["rates"]["failures"]),
                number(&server["latency_ms"]),
                check(&server["check"]),
            ]);
        }
    }
    table
}

/// One server, a fact a line.
pub(crate) fn server(backend: &str, server: &Value) -> Table {
    let mut table = Table::new(&[Left("SERVER"), Left("")]);
    let name = format!("{backend}/{}", text(&server["name"]));
    let usable = if server["usable"] == true {
        "yes"
    } else {
        "no"
    };
    let weight = match (&server["weight"], &server["configured_weight"]) {
        (now, configured) if now == configured => text(now),
        (now, configured) => format!("{} (configured {})", text(now), text(configured)),
    };
    for (fact, value) in [
        ("name", name),
        ("address", text(&server["address"])),
        ("state", text(&server["admin"])),
        ("health", health(server)),
        ("last check", check(&server["check"])),
        ("takes traffic", usable.to_owned()),
        ("weight", weight),
        ("in flight", text(&server["in_flight"])),
        ("connections", text(&server["connections"])),
        ("requests", text(&server["totals"]["requests"])),
        ("failures", text(&server["totals"]["failures"])),
        ("retries", text(&server["totals"]["retries"])),
    ] {
        table.row([fact.to_owned(), value]);
    }
    table
}

/// The affinity tables.
pub(crate) fn tables(tables: &Value) -> Table {
    let mut table = Table::new(&[
        Left("BACKEND"),
        Left("ON"),
        Right("SECONDS"),
        Right("ENTRIES"),
        Right("AT MOST"),
    ]);
    for one in each(tables) {
        table.row([
            text(&one["backend"]),
            text(&one["on"]),
            number(&one["window_seconds"]),
            text(&one["entries"]),
            text(&one["max_entries"]),
        ]);
    }
    table
}

/// Entries of an affinity table.
pub(crate) fn entries<'a>(entries: impl Iterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&[
        Left("KEY"),
        Left("SERVER"),
        Right("SECONDS LEFT"),
        Left("CONFIRMED"),
    ]);
    for entry in entries {
        let confirmed = entry["confirmed"] == true;
        table.row([
            text(&entry["key"]),
            text(&entry["server"]),
            number(&entry["seconds_left"]),
            if confirmed { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

/// The lists of networks.
pub(crate) fn lists(all: &Value) -> Table {
    let table = Table::new(&[
        Left("LIST"),
        Right("ENTRIES"),
        Right("CHANGED"),
        Left("FILE"),
    ]);
    of_files(table, all)
}

/// The maps to backends.
pub(crate) fn maps(all: &Value) -> Table {
    let table = Table::new(&[
        Left("MAP"),
        Right("ENTRIES"),
        Right("CHANGED"),
        Left("FILE"),
    ]);
    of_files(table, all)
}

fn of_files(mut table: Table, all: &Value) -> Table {
    for one in each(all) {
        table.row([
            text(&one["name"]),
            text(&one["entries"]),
            text(&one["changed"]),
            text(&one["file"]),
        ]);
    }
    table
}

/// Networks of a list.
pub(crate) fn networks(networks: &Value) -> Table {
    let mut table = Table::new(&[Left("NETWORK")]);
    for one in each(networks) {
        table.row([text(one)]);
    }
    table
}

/// Entries of a map.
pub(crate) fn mappings(entries: &Value) -> Table {
    let mut table = Table::new(&[Left("KEY"), Left("BACKEND")]);
    for one in each(entries) {
        table.row([text(&one["key"]), text(&one["backend"])]);
    }
    table
}

/// Events, the oldest first.
pub(crate) fn events(events: &Value, now: f64) -> Table {
    let mut table = Table::new(&[
        Right("AGO"),
        Left("EVENT"),
        Left("ABOUT"),
        Left("BY"),
        // Last, so that no line is as long as the longest.
        Left("MESSAGE"),
    ]);
    for event in each(events) {
        let ago = event["at"].as_f64().map_or(0.0, |at| (now - at).max(0.0));
        table.row([
            duration(&ago.into()),
            text(&event["kind"]),
            about(event),
            by(event),
            message(event),
        ]);
    }
    table
}

/// The server that an event is about.
pub(crate) fn about(event: &Value) -> String {
    match (event["backend"].as_str(), event["server"].as_str()) {
        (Some(backend), Some(server)) => format!("{backend}/{server}"),
        _ => String::new(),
    }
}

/// What an event says, on one line.
pub(crate) fn message(event: &Value) -> String {
    event["message"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', "; ")
}

/// Who made an event happen.
pub(crate) fn by(event: &Value) -> String {
    event["by"].as_str().unwrap_or_default().to_owned()
}

/// The time of an event, in UTC as the log has it.
pub(crate) fn time_of_day(event: &Value) -> String {
    // Positive and far below the largest that an integer holds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "see above"
    )]
    let seconds = event["at"].as_f64().unwrap_or(0.0).max(0.0) as u64 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// The workers.
pub(crate) fn workers(workers: &Value) -> Table {
    let mut table = Table::new(&[
        Right("WORKER"),
        Right("CONNS"),
        Right("LATE MS"),
        Right("PANICS"),
    ]);
    for worker in each(workers) {
        table.row([
            text(&worker["index"]),
            text(&worker["connections"]),
            number(&worker["lag_ms"]),
            text(&worker["panics"]),
        ]);
    }
    table
}

/// The virtual addresses.
pub(crate) fn virtual_ips(virtual_ips: &Value) -> Table {
    let mut table = Table::new(&[
        Left("VIRTUAL IP"),
        Left("ADDRESSES"),
        Left("INTERFACE"),
        Left("STATE"),
        Right("PRIORITY"),
        Left("ACTIVE NODE"),
        Right("BECAME ACTIVE"),
        Right("CONFLICTS"),
        Right("FAILURES"),
    ]);
    for one in each(virtual_ips) {
        let addresses = each(&one["addresses"]).map(text);
        let addresses: Vec<String> = addresses.collect();
        let totals = &one["totals"];
        let state = match one["conflict"] == true {
            true => format!("{} (another is active too)", text(&one["state"])),
            false => text(&one["state"]),
        };
        table.row([
            text(&one["name"]),
            addresses.join(" "),
            text(&one["interface"]),
            state,
            text(&one["priority"]),
            text(&one["active"]),
            text(&totals["became_active"]),
            text(&totals["conflicts"]),
            text(&totals["failures"]),
        ]);
    }
    table
}

/// This node and its cluster in a line.
pub(crate) fn cluster_line(cluster: &Value) -> String {
    let Some(node) = cluster["node"].as_str() else {
        return "no cluster: write [cluster] into the configuration to share affinity and limits"
            .to_owned();
    };
    let state = match (cluster["problem"].as_str(), cluster["current"] == true) {
        (Some(problem), _) => without_controls(problem),
        (None, true) => "current".to_owned(),
        (None, false) => "being told what its peers know".to_owned(),
    };
    let (listen, digest) = (text(&cluster["listen"]), text(&cluster["digest"]));
    format!("node {node} on {listen}, {state}, configuration {digest}")
}

/// The peers of a cluster.
pub(crate) fn peers(peers: &Value) -> Table {
    let mut table = Table::new(&[
        Left("PEER"),
        Left("ADDRESS"),
        Left("STATE"),
        Right("HEARD"),
        Right("LAG MS"),
        Right("WAITING"),
        Right("SENT"),
        Right("RECEIVED"),
        Right("LOST"),
        Left("CONFIGURATION"),
        Left("PROGRAM"),
    ]);
    for peer in each(peers) {
        let totals = &peer["totals"];
        let heard = match peer["heard_seconds_ago"].is_null() {
            true => "never".to_owned(),
            false => format!("{} ago", duration(&peer["heard_seconds_ago"])),
        };
        let digest = text(&peer["digest"]);
        let configuration = match peer["drifted"].as_bool() {
            Some(true) => format!("{digest} (another)"),
            Some(false) => "the same".to_owned(),
            None => "-".to_owned(),
        };
        table.row([
            text(&peer["name"]),
            text(&peer["address"]),
            text(&peer["state"]),
            heard,
            number(&peer["lag_ms"]),
            text(&peer["waiting"]),
            text(&totals["sent"]),
            text(&totals["received"]),
            text(&totals["disconnects"]),
            configuration,
            text(&peer["program"]),
        ]);
    }
    table
}

/// What is known of the configuration.
pub(crate) fn config_lines(config: &Value, now: f64) -> String {
    let since = config["served_since"].as_f64().unwrap_or(now);
    let mut lines = format!(
        "source      {}\ndigest      {}\ngeneration  {}\nserves for  {}\n",
        text(&config["source"]),
        text(&config["digest"]),
        text(&config["generation"]),
        duration(&(now - since).max(0.0).into()),
    );
    if let Some(error) = config["last_error"].as_str() {
        lines.push_str("the last reload was refused:\n");
        lines.push_str(
            &error
                .lines()
                .map(without_controls)
                .collect::<Vec<_>>()
                .join("\n"),
        );
        lines.push('\n');
    }
    lines
}

/// What a configuration changes.
pub(crate) fn changes(changes: &Value) -> Table {
    let mut table = Table::new(&[
        Left("CHANGE"),
        Left("WHERE"),
        Left("WHAT"),
        Left("BEFORE"),
        Left("NOW"),
        Left("COST"),
    ]);
    for change in each(changes) {
        table.row([
            text(&change["kind"]),
            text(&change["section"]),
            text(&change["item"]),
            text(&change["old"]),
            text(&change["new"]),
            text(&change["cost"]),
        ]);
    }
    table
}

/// A number and what it counts, in the plural unless it is one.
fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn each(values: &Value) -> impl Iterator<Item = &Value> {
    values.as_array().into_iter().flatten()
}

fn health(server: &Value) -> String {
    let observed = text(&server["health"]);
    match server["health_override"].as_str() {
        Some(said) => format!("{said} (set by hand; observed: {observed})"),
        None => observed,
    }
}

fn check(check: &Value) -> String {
    if check.is_null() {
        return "-".to_owned();
    }
    let ago = duration(&check["seconds_ago"]);
    match check["reason"].as_str().filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{}, {ago} ago: {reason}", text(&check["result"])),
        None => format!("{}, {ago} ago", text(&check["result"])),
    }
}

/// A value as it is; a dash for none.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number with as many digits as help.
fn number(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(number) if number >= 100.0 || number == 0.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.1}"),
    }
}

/// Seconds as a person would say them.
pub(super) fn duration(seconds: &Value) -> String {
    let seconds = seconds.as_f64().unwrap_or(0.0);
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m{:02.0}s", (s / 60.0).floor(), (s % 60.0).floor()),
        s if s < 86_400.0 => {
            let minutes = ((s % 3600.0) / 60.0).floor();
            format!("{:.0}h{minutes:02.0}m", (s / 3600.0).floor())
        }
        s => {
            let hours = ((s % 86_400.0) / 3600.0).floor();
            format!("{:.0}d{hours:02.0}h", (s / 86_400.0).floor())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_short() {
        let duration = |seconds: f64| duration(&seconds.into());
        assert_eq!(duration(5.4), "5s");
        assert_eq!(duration(61.0), "1m01s");
        assert_eq!(duration(3600.0 * 5.5), "5h30m");
        assert_eq!(duration(86_400.0 * 3.25), "3d06h");
        assert_eq!(number(&Value::from(1234.56)), "1235");
        assert_eq!(number(&Value::from(0.25)), "0.2");
        assert_eq!(number(&Value::Null), "-");
    }
}
