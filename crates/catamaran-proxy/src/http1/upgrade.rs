//! Upgraded connections: after 101 the bytes belong to another protocol and are relayed.

use super::exchange::{Exchange, Next};
use super::forward::Terms;
use super::log;
use crate::facts::relay_outcome;
use crate::outcome::Outcome;
use crate::tunnel::{Half, Relay};
use crate::upstream::{Chosen, Connection};
use crate::worker::Worker;

/// Sends the response that switches protocols, then relays until the tunnel ends.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    mut connection: Connection,
    chosen: Chosen,
    terms: &Terms<'_>,
) -> Next {
    let worker = exchange.worker;
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
    let retained = exchange.context.upload.retained();
    exchange.client.input.consume(retained);
    // What either side sent ahead of the switch goes first.
    let mut relay = Relay {
        up: Half::with_bytes(std::mem::take(&mut exchange.client.input)),
        down: Half::with_bytes(std::mem::take(&mut exchange.context.reply)),
    };
    let end = {
        let client = &mut *exchange.client;
        let server = &mut connection.stream;
        if terms.backend.model.on_down == catamaran_core::model::OnDown::Redispatch {
            client.deadline.watch(connection.server.id());
        }
        relay
            .run(
                worker.pools(),
                &client.stream,
                server,
                &client.deadline,
                idle,
            )
            .await
    };
    exchange.client.deadline.watch(0);
    exchange.facts.bytes_in += relay.up.moved;
    exchange.facts.bytes_out += relay.down.moved;
    // Who waits for the place at the server may need this connection's too.
    drop(connection);
    drop(chosen);
    log::ended(exchange, relay_outcome(end));
    Next::End
}
