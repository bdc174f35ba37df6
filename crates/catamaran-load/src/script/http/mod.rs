//! The requests of scripts: what is asked, sent, kept of it and recorded.

mod ask;
mod debug;
mod digest;
mod jar;
mod packed;
mod pool;
mod record;
mod reply;
mod send;

pub(super) use ask::{Ask, Keep};
pub(super) use jar::Jar;
pub(super) use packed::pack;
pub(super) use pool::{Pool, resolve};
pub(super) use reply::{Reply, install, into_js};
pub(super) use send::{Written, cookies, perform, perform_all, take_cookies};
