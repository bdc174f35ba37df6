//! Asking the agents beside servers how these do (HAProxy's `agent-check`).
//!
//! An agent's word counts when it changes: an operator's own change stays until the agent says
//! something else than before. An agent that does not answer changes nothing.

use crate::admin::{Kind, Plane};
use crate::probe::Target as CheckTarget;
use catamaran_core::Timestamp;
use catamaran_core::health::{Duty, Report, Status};
use catamaran_core::model::{Agent, Name, Source, Weight};
use catamaran_core::server::Admin;
use catamaran_proxy::{Server, Target};
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Backend and server.
type Of = (Name, Name);

/// What is known of one agent.
#[derive(Debug, Default)]
struct Known {
    next: Timestamp,
    is_asked: bool,
    said: Option<Report>,
    /// Whether the last question had no answer, which is logged once.
    is_silent: bool,
}

/// Asks every agent in its turn, for ever.
pub(crate) async fn ask_agents(plane: &Plane) {
    let mut known: HashMap<Of, Known> = HashMap::new();
    let mut asked: JoinSet<(Of, io::Result<Report>)> = JoinSet::new();
    loop {
        tokio::select! {
            Some(answer) = asked.join_next() => {
                // Of one that is gone meanwhile nothing needs to be known.
                if let Ok((of, answer)) = answer
                    && let Some(known) = known.get_mut(&of)
                {
                    known.is_asked = false;
                    take(plane, &of, known, answer);
                }
            }
            () = tokio::time::sleep(LOOK) => ask_due(plane, &mut known, &mut asked),
        }
    }
}

/// Asks those whose time has come.
fn ask_due(
    plane: &Plane,
    known: &mut HashMap<Of, Known>,
    asked: &mut JoinSet<(Of, io::Result<Report>)>,
) {
    let now = plane.clock.now();
    let snapshot = plane.shared.snapshot();
    // What was said of servers that are gone says nothing of others of their names.
    known.retain(|(backend, server), _| {
        let backend = snapshot.backend(backend);
        let backend = backend.filter(|backend| backend.model.agent.is_some());
        backend.is_some_and(|backend| backend.set().by_name(server).is_some())
    });
    for backend in &*snapshot.backends {
        let Some(agent) = &backend.model.agent else {
            continue;
        };
        for server in &backend.set().servers {
            let of = (backend.model.name.clone(), server.model.name.clone());
            let known = known.entry(of.clone()).or_default();
            if known.is_asked || now < known.next || asked.len() >= MAX_ASKED {
                continue;
            }
            known.is_asked = true;
            known.next = now + agent.interval;
            let (target, source) = (target(server, agent), server.model.source.clone());
            let agent = agent.clone();
            asked.spawn(async move { (of, ask(target, source, &agent).await) });
        }
    }
}

fn target(server: &Server, agent: &Agent) -> CheckTarget {
    let target = match &server.target {
        Target::Ip(address) => CheckTarget::Ip(*address),
        Target::Unix(path) => CheckTarget::Unix(path.clone()),
    };
    target.with_port(Some(agent.port))
}

/// Asks one agent.
async fn ask(target: CheckTarget, source: Option<Source>, agent: &Agent) -> io::Result<Report> {
    let asked = async {
        let CheckTarget::Ip(address) = target else {
            return Err(io::Error::other("a unix socket has no ports for an agent"));
        };
        let socket = crate::probe::socket_from(address, source.as_ref())?;
        let mut stream = socket.connect(address).await?;
        stream.write_all(agent.send.as_bytes()).await?;
        let mut line = Vec::new();
        while line.len() < MAX_LINE && !line.contains(&b'\n') {
            let mut part = [0; 256];
            match stream.read(&mut part).await? {
                0 => break,
                count => line.extend_from_slice(&part[..count]),
            }
        }
        Report::parse(&line).ok_or_else(|| io::Error::other("no word of its answer is known"))
    };
    let answer = tokio::time::timeout(agent.timeout, asked).await;
    answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Takes note of an answer.
fn take(plane: &Plane, of: &Of, known: &mut Known, answer: io::Result<Report>) {
    let (backend, server) = (of.0.as_str(), of.1.as_str());
    let report = match answer {
        Ok(report) => report,
        Err(error) => {
            if !std::mem::replace(&mut known.is_silent, true) {
                tracing::warn!(backend, server, %error, "an agent does not answer; its last word holds");
            }
            return;
        }
    };
    known.is_silent = false;
    if known.said.as_ref() == Some(&report) {
        return;
    }
    apply(plane, of, known.said.as_ref(), &report);
    let told = told(&report);
    tracing::info!(backend, server, said = told, "an agent says something else");
    plane
        .events
        .note_server(Kind::Changed, backend, server, &told);
    known.said = Some(report);
}

/// Does what a report says.
fn apply(plane: &Plane, (backend, server): &Of, before: Option<&Report>, report: &Report) {
    let shared = &plane.shared;
    // One that is gone meanwhile needs nothing.
    if let Some(duty) = report.duty {
        let admin = match duty {
            Duty::Ready => Admin::Ready,
            Duty::Drain => Admin::Drain,
            Duty::Maintenance => Admin::Maintenance,
        };
        if admin == Admin::Ready {
            // The deadline of a drain ends nothing of a server that serves again.
            plane.drains.end(backend, server);
        }
        let _ = shared.set_admin_state(backend, server, admin);
    }
    match report.is_up {
        Some(false) => {
            let _ = shared.set_health_override(backend, server, Some(Status::Down));
        }
        // Well again by its own word only: checks are not overruled.
        Some(true) if before.is_some_and(|before| before.is_up == Some(false)) => {
            let _ = shared.set_health_override(backend, server, None);
        }
        Some(true) | None => {}
    }
    if let Some(percent) = report.weight_percent {
        let snapshot = shared.snapshot();
        let found = snapshot.backend(backend);
        let found = found.and_then(|found| found.set().by_name(server).cloned());
        let Some(found) = found else {
            return;
        };
        let configured = u32::from(found.model.weight.as_u16());
        let share = configured.saturating_mul(percent).div_ceil(100);
        let share = u16::try_from(share).ok().and_then(Weight::new);
        let _ = shared.set_weight(backend, server, Some(share.unwrap_or(Weight::MAX)));
    }
}

fn told(report: &Report) -> String {
    let mut told = Vec::new();
    told.extend(report.duty.map(|duty| match duty {
        Duty::Ready => "ready".to_owned(),
        Duty::Drain => "drain".to_owned(),
        Duty::Maintenance => "maintenance".to_owned(),
    }));
    told.extend(
        report
            .is_up
            .map(|is_up| if is_up { "up" } else { "down" }.to_owned()),
    );
    told.extend(
        report
            .weight_percent
            .map(|percent| format!("weight {percent}%")),
    );
    if !report.reason.is_empty() {
        told.push(format!("({})", report.reason));
    }
    format!("agent: {}", told.join(", "))
}

/// How often it is looked whose time has come.
const LOOK: Duration = Duration::from_millis(250);
/// Agents asked at once.
const MAX_ASKED: usize = 256;
/// Bytes of an answer.
const MAX_LINE: usize = 1024;
