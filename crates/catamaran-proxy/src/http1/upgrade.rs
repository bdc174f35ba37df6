//! Upgraded connections: after 101 the bytes belong to another protocol and are relayed.
//!
//! A tunnel may go on for days: it keeps its server, its small backend and the listener's slot, but
//! neither the frontend nor, through it, the configuration that it began with.

use super::exchange::{Exchange, Next};
use super::forward::Terms;
use super::{Client, Context, log};
use crate::facts::{Facts, relay_outcome};
use crate::outcome::Outcome;
use crate::state::{Backend, RouteCounts};
use crate::tunnel::{Half, Relay};
use crate::upstream::{Chosen, Connection};
use crate::worker::Worker;
use catamaran_core::model::OnDown;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A tunnel that is about to relay.
#[derive(Debug)]
pub(crate) struct Tunnel {
    connection: Connection,
    chosen: Chosen,
    backend: Arc<Backend>,
    route: Option<Arc<RouteCounts>>,
    facts: Facts<'static>,
    idle: Duration,
}

/// Sends the response that switches protocols. What follows is [`relay`]'s.
pub(super) async fn begin(
    exchange: &mut Exchange<'_>,
    connection: Connection,
    chosen: Chosen,
    terms: &Terms<'_>,
) -> Next {
    let idle = exchange.frontend.model.timeouts.tunnel;
    let head_len = exchange.context.response.head_len;
    exchange.context.reply.consume(head_len);
    exchange.client.deadline.set(Worker::now() + idle);
    let head = &exchange.context.to_client;
    if !super::answer::send(&exchange.client.stream, &exchange.client.deadline, head).await {
        exchange.end(Outcome::ClientGone);
        return Next::End;
    }
    exchange.facts.bytes_out += exchange.context.to_client.len() as u64;
    // A span that lasts for days would be of no use to anybody: it ends with the request.
    exchange.trace_end(exchange.worker.tick(), Outcome::Done);
    let retained = exchange.context.upload.retained();
    exchange.client.input.consume(retained);
    exchange.context.tunnel = Some(Box::new(Tunnel {
        connection,
        chosen,
        backend: Arc::clone(terms.backend),
        route: exchange.facts.route.cloned(),
        facts: exchange.facts.detached(),
        idle,
    }));
    Next::Tunnel
}

/// Relays until the tunnel of `context` ends.
pub(super) async fn relay(worker: &Rc<Worker>, client: &mut Client, context: &mut Context) {
    let Some(tunnel) = context.tunnel.take() else {
        return;
    };
    let Tunnel {
        connection,
        chosen,
        backend,
        route,
        mut facts,
        idle,
    } = *tunnel;
    // What either side sent ahead of the switch goes first.
    let mut relay = Relay {
        up: Half::with_bytes(std::mem::take(&mut client.input)),
        down: Half::with_bytes(std::mem::take(&mut context.reply)),
    };
    if let Some(meters) = &client.meters {
        relay.throttle(&meters.1);
    }
    if backend.model.on_down == OnDown::Redispatch {
        client.deadline.watch(connection.server.id());
    }
    client.deadline.set_tunnel();
    let (pools, deadline) = (worker.pools(), &client.deadline);
    let end = relay
        .run(pools, &client.stream, &connection.stream, deadline, idle)
        .await;
    client.deadline.watch(0);
    facts.bytes_in += relay.up.moved;
    facts.bytes_out += relay.down.moved;
    // Who waits for the place at the server may need this connection's too.
    drop(connection);
    drop(chosen);
    let frontend = client.slot.frontend();
    let mut exchange = Exchange {
        worker,
        frontend: &frontend,
        client,
        context,
        facts: Facts {
            backend: Some(&backend),
            route: route.as_ref(),
            ..facts
        },
    };
    log::ended(&mut exchange, relay_outcome(end));
}
