//! Alerts: the example API. A client leaves a reminder, a mail goes out when it is due.
//!
//! Every replica is the same program and keeps nothing: what must last is in a store behind the
//! [`store::Store`] trait, which is a file, a store server or etcd. One replica at a time mails
//! what is due ([`job`]). The README says what is guaranteed, and what is not.
//!
//! ```text
//!   api ──► store (trait) ──► embedded (redb)      one replica
//!   job ──►                   remote ──HTTP──►     `alerts store`, which serves the embedded one
//!    └──► mail (SMTP)         etcd                 any number of replicas, any node may be down
//! ```
#![forbid(unsafe_code)]

pub mod alert;
pub mod api;
pub mod args;
pub mod commands;
pub mod job;
pub mod mail;
pub mod problem;
pub mod server;
pub mod sink;
pub mod stop;
pub mod store;
