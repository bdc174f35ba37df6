//! TCP: a client's connection is relayed to a server.

use crate::facts::{self, Facts, relay_outcome};
use crate::io::Stream;
use crate::outcome::Outcome;
use crate::state::{Backend, Frontend, OpenSource, Server, Signal};
use crate::tarpit::{self, Held};
use crate::tunnel::{Opened, Opening, Relay, RelayEnd, Way};
use crate::upstream::{
    Ask, Binding, Chosen, ConnectError, Connection, NoServer, connect, is_to_choose_again, select,
};
use crate::worker::{Deadline, Slot, Worker};
use catamaran_core::balance::hash_key;
use catamaran_core::model::{Balance, Denial, HashKey, OnDown, StickKey};
use catamaran_core::retry::{self, Attempt, Failure, Reason, Repeat, SilentEnd, Verdict, decide};
use catamaran_core::{Key, Timestamp};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Relays a connection until it ends.
///
/// Nothing here keeps the frontend, and through it the configuration, while the tunnel goes on.
pub(crate) async fn serve(worker: &Rc<Worker>, slot: &Slot, client: Stream, peer: SocketAddr) {
    let deadline = worker.deadline().await;
    deadline.belongs_to(slot.id());
    deadline.set_tunnel();
    let began = Worker::now();
    let mut facts = Facts::new(began, 0);
    let (backend, admitted) = {
        let frontend = slot.frontend();
        frontend.counts(worker.index).traffic.begun.add_alone(1);
        admit(&frontend, began, peer)
    };
    facts.backend = Some(&backend);
    facts.count_begun(worker);
    let outcome = match admitted {
        Ok(source) => {
            let parties = Parties {
                worker,
                slot,
                backend: &backend,
                client: &client,
                peer,
                deadline: &deadline,
            };
            let outcome = parties.relay(&mut facts).await;
            drop(source);
            outcome
        }
        Err(refused) => {
            let frontend = slot.frontend();
            Box::pin(refuse(worker, &frontend, &client, &deadline, refused)).await
        }
    };
    if outcome != Outcome::Dropped
        && !matches!(
            outcome,
            Outcome::Done | Outcome::ClientGone | Outcome::IdleTimeout
        )
    {
        // The client must not take silence for an answer.
        client.reset_on_close();
    }
    let frontend = slot.frontend();
    let outcome = deadline.outcome_of(outcome);
    facts::relayed(worker, &frontend, peer, &facts, outcome);
}

/// Ends a connection that may not go on, as policy says. Returns its outcome.
async fn refuse(
    worker: &Worker,
    frontend: &Frontend,
    client: &Stream,
    deadline: &Deadline,
    (outcome, denial): (Outcome, Denial),
) -> Outcome {
    match denial {
        Denial::Forbid | Denial::Close => outcome,
        Denial::SilentDrop => {
            client.drop_silently();
            Outcome::Dropped
        }
        Denial::Tarpit => match tarpit::hold(worker, frontend, client, deadline).await {
            Held::Full => outcome,
            Held::Over | Held::ClientGone => Outcome::Tarpitted(outcome.consequence().status),
        },
    }
}

/// Where a connection goes, and whether it may.
fn admit(
    frontend: &Frontend,
    now: Timestamp,
    peer: SocketAddr,
) -> (Arc<Backend>, Result<OpenSource, (Outcome, Denial)>) {
    let id = frontend
        .model
        .backend
        .expect("a TCP frontend has a backend");
    let admit = || {
        if let Some(denial) = frontend.denies(peer.ip()) {
            return Err((Outcome::Forbidden, denial));
        }
        let source = frontend.open_source(peer.ip());
        let source = source.map_err(|_| (Outcome::TooManyConnections, Denial::Close))?;
        frontend
            .check_rate(now, peer.ip(), |_| None)
            .map_err(|(denial, _)| (Outcome::RateLimited, denial))?;
        Ok(source)
    };
    (Arc::clone(frontend.backend(id)), admit())
}

/// Who takes part in a relay, whichever server it goes to.
struct Parties<'a> {
    worker: &'a Rc<Worker>,
    slot: &'a Slot,
    backend: &'a Arc<Backend>,
    client: &'a Stream,
    peer: SocketAddr,
    deadline: &'a Deadline,
}

/// How a relay goes on after its opening at one server.
enum Begun {
    Relay(Relay),
    Over(RelayEnd),
    /// Another server is to be tried.
    Again,
}

impl<'a> Parties<'a> {
    async fn relay(&self, facts: &mut Facts<'a>) -> Outcome {
        let mut ask = ask(self.backend, self.peer);
        self.backend.budget.handle_first_try();
        let max_kept = self.backend.model.retry.replay_bytes;
        let mut opening = (max_kept > 0).then(|| Box::new(Opening::new(max_kept)));
        loop {
            let (connection, chosen) = match Box::pin(self.open(&mut ask, facts)).await {
                Ok(connected) => connected,
                Err(outcome) => return outcome,
            };
            facts::connected(self.worker, &self.slot.frontend(), self.peer, facts);
            if self.backend.model.on_down == OnDown::Redispatch {
                self.deadline.watch(connection.server.id());
            }
            let begun = match &mut opening {
                Some(opening) => Box::pin(self.begin(opening, &connection, facts)).await,
                None => Begun::Relay(Relay::default()),
            };
            match begun {
                Begun::Relay(relay) => {
                    drop(opening);
                    return self.relay_on(relay, connection, chosen, facts).await;
                }
                Begun::Over(end) => return relay_outcome(end),
                Begun::Again => ask.tried.push(connection.server.id()),
            }
        }
    }

    /// Relays to the end at the server that is settled.
    async fn relay_on(
        &self,
        mut relay: Relay,
        connection: Connection,
        chosen: Chosen,
        facts: &mut Facts<'a>,
    ) -> Outcome {
        let (idle, meters) = {
            let frontend = self.slot.frontend();
            let bandwidth = frontend.bandwidth.as_ref();
            let meters = bandwidth.map(|bandwidth| bandwidth.meters(self.peer.ip()));
            (frontend.model.timeouts.tunnel, meters)
        };
        if let Some(meters) = &meters {
            relay.throttle(meters);
        }
        let pools = self.worker.pools();
        let end = relay
            .run(pools, self.client, &connection.stream, self.deadline, idle)
            .await;
        self.deadline.watch(0);
        facts.bytes_in = relay.up.moved;
        facts.bytes_out = relay.down.moved;
        // Who waits for the place at the server may need this connection's too.
        drop(connection);
        drop(chosen);
        relay_outcome(end)
    }

    /// Sends the client's first bytes, which another server may get if this one ends in silence.
    async fn begin(
        &self,
        opening: &mut Opening,
        connection: &Connection,
        facts: &mut Facts<'a>,
    ) -> Begun {
        let way = Way {
            pools: self.worker.pools(),
            client: self.client,
            server: &connection.stream,
        };
        let idle = self.slot.frontend().model.timeouts.tunnel;
        let opened = opening.run(way, self.deadline, idle).await;
        facts.bytes_in = opening.received();
        let end = match opened {
            Opened::Relay(relay) => return Begun::Relay(relay),
            Opened::Over(end) => return Begun::Over(end),
            Opened::Silent(end) => end,
        };
        if self.is_again(opening, end, &connection.server, facts) {
            self.deadline.watch(0);
            return Begun::Again;
        }
        match end {
            SilentEnd::Closed => Begun::Relay(opening.relay(way.pools)),
            SilentEnd::Reset => Begun::Over(RelayEnd::ServerReset),
            SilentEnd::MarkedDown => Begun::Over(RelayEnd::ServerDown),
        }
    }

    /// Whether another server gets what one got that ended in silence.
    fn is_again(
        &self,
        opening: &Opening,
        end: SilentEnd,
        server: &Arc<Server>,
        facts: &mut Facts<'a>,
    ) -> bool {
        let Some(failure) = end.failure(opening.client()) else {
            return false;
        };
        // Not towards ejection: a crash ends many connections at once and is over soon.
        server.counts(self.worker.index).failures.add_alone(1);
        let attempt = Attempt {
            failure,
            // Who asks for bytes to be kept says that they may be sent twice.
            repeat: Repeat::Idempotent,
            sent_bytes: opening.sent(),
            ..attempt(facts, self.backend)
        };
        match decide(Worker::now(), &attempt, &self.backend.budget) {
            Verdict::RetryElsewhere | Verdict::RetrySame => {
                server.counts(self.worker.index).retries.add_alone(1);
                facts.retries += 1;
                facts.redispatches += u32::from(attempt.is_redispatch());
                true
            }
            Verdict::GiveUp(reason) => {
                if reason == Reason::BudgetSpent {
                    self.backend
                        .counts(self.worker.index)
                        .budget_spent
                        .add_alone(1);
                }
                false
            }
        }
    }

    /// Connects to a server, to another one if that fails.
    async fn open(
        &self,
        ask: &mut Ask,
        facts: &mut Facts<'a>,
    ) -> Result<(Connection, Chosen), Outcome> {
        let (worker, backend, deadline) = (self.worker, self.backend, self.deadline);
        loop {
            let asked = Worker::now();
            let mut broken = None;
            let left = |cx: &mut std::task::Context<'_>| {
                let broken = broken.get_or_insert_with(|| Box::pin(self.client.broken()));
                broken.as_mut().poll(cx)
            };
            let chosen = select(worker, backend, ask, asked, Timestamp::MAX, deadline, left)
                .await
                .map_err(|reason| match reason {
                    NoServer::Unusable if facts.server.is_some() => Outcome::ConnectFailed,
                    NoServer::Unusable => Outcome::NoServer,
                    NoServer::QueueFull => Outcome::QueueFull,
                    NoServer::QueueTimeout => Outcome::QueueTimeout,
                    NoServer::ClientGone => Outcome::ClientGone,
                })?;
            let server = chosen.room.server();
            facts.note_server(worker, server);
            facts.server = Some((Arc::clone(server), chosen.why));
            let began = Worker::now();
            let result = connect(worker, &backend.model, server, deadline, Timestamp::MAX).await;
            let now = Worker::now();
            facts.connected = Some(now.saturating_since(began));
            let error = match result {
                Ok(connection) => {
                    server.streak.success();
                    server.observe(now, began);
                    chosen.confirm(backend, ask.binding, now);
                    return Ok((connection, chosen));
                }
                Err(ConnectError::Ours(_)) => return Err(Outcome::Exhausted),
                Err(error) => error,
            };
            server.counts(worker.index).failures.add_alone(1);
            if !matches!(error, ConnectError::Full | ConnectError::ServerDown)
                && let Some(threshold) = backend.model.outlier.consecutive
                && server.streak.failure(threshold)
            {
                worker.signal(server, Signal::Outlier);
            }
            if decide(now, &attempt(facts, backend), &backend.budget) == Verdict::RetryElsewhere {
                server.counts(worker.index).retries.add_alone(1);
                facts.retries += 1;
                ask.tried.push(server.id());
            } else if Box::pin(is_to_choose_again(backend, facts.began)).await {
                ask.tried.clear();
            } else {
                return Err(match error {
                    ConnectError::TimedOut => Outcome::ConnectTimeout,
                    _ => Outcome::ConnectFailed,
                });
            }
        }
    }
}

/// A connection that did not come to stand: nothing of the client's was sent.
fn attempt(facts: &Facts<'_>, backend: &Backend) -> Attempt {
    Attempt {
        failure: Failure::Connect,
        connection: retry::Connection::Fresh,
        repeat: Repeat::Unsafe,
        sent_bytes: 0,
        is_buffered_whole: true,
        has_response_bytes: false,
        retries: facts.retries,
        redispatches: facts.redispatches,
        max_retries: backend.model.retry.max_tries,
    }
}

/// What of a connection or flow decides which server it goes to.
pub(crate) fn ask(backend: &Backend, peer: SocketAddr) -> Ask {
    let is_by_source = backend
        .model
        .stick
        .as_ref()
        .is_some_and(|stick| stick.on == StickKey::SourceIp);
    let hashes_source = matches!(
        backend.model.balance,
        Balance::Source
            | Balance::Hash {
                key: HashKey::SourceIp,
                ..
            }
    );
    Ask {
        binding: if is_by_source {
            Binding::Key(Key::of_address(peer.ip()))
        } else {
            Binding::None
        },
        hash: hashes_source.then(|| hash_key(peer.ip().to_string().as_bytes())),
        tried: Vec::new(),
    }
}
