//! A request on its way to a server, as often as the retry rule lets it go.

use super::exchange::{Exchange, Next};
use super::plan::{View, source};
use super::{request, respond, trace};
use crate::facts::Target;
use crate::outcome::Outcome;
use crate::state::{Backend, Signal};
use crate::upstream::{
    Ask, Binding, Chosen, ConnectError, Connection, Freshness, NoServer, connect,
    is_to_choose_again, select,
};
use catamaran_core::balance::hash_key;
use catamaran_core::model::{Balance, HashKey, StickKey};
use catamaran_core::retry::{self, Attempt, Failure, Reason, Repeat, Verdict, decide};
use catamaran_core::route::{RequestView, cookie, query};
use catamaran_core::stick::{ServerKey, Why};
use catamaran_core::{Key, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// How a try on one connection failed.
#[derive(Debug)]
pub(super) enum TryError {
    /// The server failed; the retry rule decides what follows.
    Server(Failure),
    /// The exchange is over with this.
    Over(Outcome),
}

/// What does not change from try to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) target: Target<'a>,
    pub(super) backend: &'a Arc<Backend>,
    pub(super) repeat: Repeat,
    /// When the route's time for all tries is over.
    pub(super) until: Timestamp,
}

impl<'a> Exchange<'a> {
    /// Sends the request to a server and its response to the client.
    pub(super) async fn forward(&mut self, target: Target<'a>) -> Next {
        let backend = target.backend.expect("a route that forwards has a backend");
        self.ask(backend);
        backend.budget.handle_first_try();
        let timeout = target
            .route
            .and_then(|route| route.timeout)
            .unwrap_or(Duration::MAX);
        let terms = Terms {
            target,
            backend,
            repeat: self.repeat(&target),
            until: self.facts.began + timeout,
        };
        super::mirror::send(self, &target);
        let mut freshness = match terms.repeat {
            Repeat::Idempotent => Some(Freshness::Any),
            Repeat::Unsafe => Some(Freshness::Proven),
        };
        'choose: loop {
            let chosen = match self.choose(backend, terms.until).await {
                Ok(chosen) => chosen,
                Err(outcome) => return Box::pin(self.fail(outcome, None)).await,
            };
            loop {
                self.trace_try(&chosen);
                let (error, attempt) = match self.connection(&chosen, freshness, &terms).await {
                    Ok(mut connection) => match self.attempt(&mut connection, &terms).await {
                        Ok(()) => return respond::respond(self, connection, chosen, &terms).await,
                        Err(error) => (error, self.attempt_facts(Some(&connection))),
                    },
                    Err(error) => (error, self.attempt_facts(None)),
                };
                match self.verdict(&error, attempt, &chosen, &terms) {
                    Ok(Verdict::RetrySame) => freshness = None,
                    Ok(_) => {
                        self.context.ask.tried.push(chosen.room.server().id());
                        continue 'choose;
                    }
                    Err(Outcome::ConnectFailed)
                        if Box::pin(is_to_choose_again(backend, self.facts.began)).await =>
                    {
                        self.context.ask.tried.clear();
                        continue 'choose;
                    }
                    Err(outcome) => return Box::pin(self.fail(outcome, None)).await,
                }
            }
        }
    }

    /// Works out what decides where the request goes.
    fn ask(&mut self, backend: &Backend) {
        let view = View {
            head: &self.context.request,
            buf: self.client.input.bytes(),
            source: self.client.peer.ip(),
        };
        let source = || source(self.frontend, self.client, &self.context.request);
        let binding = match backend.model.stick.as_ref().map(|stick| &stick.on) {
            None => Binding::None,
            Some(StickKey::SourceIp) => Binding::Key(Key::of_address(source())),
            Some(StickKey::Header(name)) => view
                .header(name)
                .map_or(Binding::None, |value| Binding::Key(Key::of_bytes(value))),
            Some(StickKey::Cookie(name)) => view.cookie(name).map_or(Binding::None, |value| {
                Binding::Learned(Key::of_bytes(value))
            }),
            Some(StickKey::InsertedCookie(name)) => {
                view.cookie(name).map_or(Binding::None, |value| {
                    let name = String::from_utf8_lossy(&cookie::inserted_value(value)).into_owned();
                    Binding::Named(ServerKey::new(&name.as_str().into()))
                })
            }
        };
        let hash = match &backend.model.balance {
            Balance::Source => Some(hash_key(source().to_string().as_bytes())),
            Balance::Hash { key, .. } => hash_of(key, &view, source),
            _ => None,
        };
        self.context.ask.binding = binding;
        self.context.ask.hash = hash;
    }

    fn repeat(&self, target: &Target<'_>) -> Repeat {
        let view = View {
            head: &self.context.request,
            buf: self.client.input.bytes(),
            source: self.client.peer.ip(),
        };
        let header = target
            .route
            .and_then(|route| route.retry.idempotency_header.as_deref());
        Repeat::of_request(view.method(), header.and_then(|name| view.header(name)))
    }

    async fn choose(
        &mut self,
        backend: &Arc<Backend>,
        until: Timestamp,
    ) -> Result<Chosen, Outcome> {
        let before = self.worker.time();
        let client = &mut *self.client;
        let stream = &client.stream;
        let mut closed = None;
        // A client that has closed is not waited for; what it sent besides is its own affair. Most
        // never wait, so that nothing is watched before one does.
        let left = |cx: &mut std::task::Context<'_>| {
            let closed = closed.get_or_insert_with(|| Box::pin(stream.closed()));
            closed.as_mut().poll(cx)
        };
        let ask: &Ask = &self.context.ask;
        let chosen = select(
            self.worker,
            backend,
            ask,
            before,
            until,
            &client.deadline,
            left,
        )
        .await;
        let chosen = chosen.map_err(|reason| match reason {
            NoServer::Unusable if self.facts.server.is_some() => Outcome::ConnectFailed,
            NoServer::Unusable => Outcome::NoServer,
            NoServer::QueueFull => Outcome::QueueFull,
            NoServer::QueueTimeout => Outcome::QueueTimeout,
            NoServer::ClientGone => Outcome::ClientGone,
        })?;
        let waited = self.worker.time().saturating_since(before);
        if !waited.is_zero() {
            self.facts.queued = Some(waited);
        }
        let server = chosen.room.server();
        self.facts.note_server(self.worker, server);
        self.facts.server = Some((Arc::clone(server), chosen.why));
        Ok(chosen)
    }

    /// An idle connection that the request may use, or a new one.
    async fn connection(
        &mut self,
        chosen: &Chosen,
        freshness: Option<Freshness>,
        terms: &Terms<'_>,
    ) -> Result<Connection, TryError> {
        let server = chosen.room.server();
        let now = self.worker.time();
        if let Some(freshness) = freshness
            && let Some(mut connection) = self.worker.idle.take(server.id(), freshness, now)
        {
            connection.is_reused = true;
            server.count_reuse(self.worker.index);
            self.trace_connection(None);
            // An entry made just now; one that bound the client was confirmed by who made it.
            if chosen.why != Why::Sticky {
                chosen.confirm(terms.backend, self.context.ask.binding, now);
            }
            return Ok(connection);
        }
        let connected = Box::pin(connect(
            self.worker,
            &terms.backend.model,
            server,
            &self.client.deadline,
            terms.until,
        ))
        .await;
        let connected_at = self.worker.tick();
        self.facts.connected = Some(connected_at.saturating_since(now));
        self.trace_connection(self.facts.connected);
        match connected {
            Ok(connection) => {
                chosen.confirm(terms.backend, self.context.ask.binding, connected_at);
                Ok(connection)
            }
            Err(ConnectError::ServerDown) => Err(TryError::Server(Failure::ServerDied)),
            Err(ConnectError::TimedOut) if connected_at >= terms.until => {
                Err(TryError::Over(Outcome::ConnectTimeout))
            }
            Err(ConnectError::Ours(_)) => Err(TryError::Over(Outcome::Exhausted)),
            // The limit is ours: that it was reached says nothing of the server.
            Err(ConnectError::Full) => Err(TryError::Over(Outcome::QueueTimeout)),
            Err(ConnectError::Failed(_) | ConnectError::TimedOut) => {
                Err(TryError::Server(Failure::Connect))
            }
        }
    }

    fn attempt_facts(&self, connection: Option<&Connection>) -> Attempt {
        let upload = &self.context.upload;
        let is_reused = connection.is_some_and(|connection| connection.is_reused);
        Attempt {
            failure: Failure::Closed,
            connection: if is_reused {
                retry::Connection::Reused
            } else {
                retry::Connection::Fresh
            },
            repeat: Repeat::Unsafe,
            sent_bytes: if connection.is_some() {
                upload.sent_bytes
            } else {
                0
            },
            is_buffered_whole: upload.is_retained() && upload.reader.is_finished(),
            has_response_bytes: !self.context.reply.is_empty() || self.facts.has_interim,
            retries: self.facts.retries,
            redispatches: self.facts.redispatches,
            max_retries: 0,
        }
    }

    /// What follows a failed try: another, or the outcome that the client is told.
    fn verdict(
        &mut self,
        error: &TryError,
        facts: Attempt,
        chosen: &Chosen,
        terms: &Terms<'_>,
    ) -> Result<Verdict, Outcome> {
        let now = self.worker.tick();
        let server = chosen.room.server();
        let backend = terms.backend;
        self.worker
            .buffers
            .give_back(std::mem::take(&mut self.context.reply));
        let failure = match *error {
            TryError::Server(failure) => failure,
            TryError::Over(outcome) => {
                if matches!(outcome, Outcome::BadResponse | Outcome::ResponseTimeout) {
                    self.count_failure(chosen, terms);
                }
                self.trace_failure(now, outcome);
                return Err(outcome);
            }
        };
        let outcome = trace::outcome_of(failure);
        self.trace_failure(now, outcome);
        let max_retries = terms.target.route.and_then(|route| route.retry.max_tries);
        let max_retries = max_retries.unwrap_or(backend.model.retry.max_tries);
        let attempt = Attempt {
            failure,
            repeat: terms.repeat,
            max_retries,
            ..facts
        };
        let is_stale =
            failure == Failure::Closed && attempt.connection == retry::Connection::Reused;
        if !is_stale && failure != Failure::ServerDied {
            self.count_failure(chosen, terms);
        }
        match decide(now, &attempt, &backend.budget) {
            Verdict::GiveUp(reason) => {
                if reason == Reason::BudgetSpent {
                    backend.counts(self.worker.index).budget_spent.add_alone(1);
                }
                Err(outcome)
            }
            verdict => {
                server.counts(self.worker.index).retries.add_alone(1);
                self.facts.retries += 1;
                self.facts.redispatches += u32::from(attempt.is_redispatch());
                Ok(verdict)
            }
        }
    }

    /// Counts a failure against the server, for passive detection.
    pub(super) fn count_failure(&self, chosen: &Chosen, terms: &Terms<'_>) {
        let server = chosen.room.server();
        server.counts(self.worker.index).failures.add_alone(1);
        if let Some(threshold) = terms.backend.model.outlier.consecutive
            && server.streak.failure(threshold)
        {
            self.worker.signal(server, Signal::Outlier);
        }
    }

    /// Writes the request's head for the server and begins its body.
    pub(super) fn begin_upload(&mut self, terms: &Terms<'_>) {
        use super::transfer::{AtEnd, Leaving, Retention};
        use catamaran_http1::BodyFraming;
        request::write(self.frontend, self.client, self.context, &terms.target);
        let framing = self.context.request.body;
        let leaving = if framing == BodyFraming::Chunked {
            Leaving::Chunked(AtEnd::passing(self.context.request.pass_trailers))
        } else {
            Leaving::Plain
        };
        self.context.upload.reader.begin_request(framing);
        self.context
            .upload
            .begin(leaving, Retention::WhileRoom, self.context.request.head_len);
    }
}

fn hash_of(key: &HashKey, view: &View<'_>, source: impl Fn() -> std::net::IpAddr) -> Option<u64> {
    match key {
        HashKey::SourceIp => Some(hash_key(source().to_string().as_bytes())),
        HashKey::Header(name) => view.header(name).map(hash_key),
        HashKey::Cookie(name) => view.cookie(name).map(hash_key),
        HashKey::Path => Some(hash_key(view.path())),
        HashKey::Uri => Some(hash_key(view.head.target.whole.of(view.buf))),
        HashKey::Query(name) => query::value(view.query()?, name).map(|value| hash_key(&value)),
        HashKey::Host => Some(hash_key(&view.host().to_ascii_lowercase())),
    }
}
