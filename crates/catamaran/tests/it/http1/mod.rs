//! HTTP/1.1 through the whole program: connections, bodies, messages, tunnels, errors.

mod bodies;
mod connections;
mod errors;
mod forwarded;
mod messages;
mod pieces;
mod upgrade;
