//! The nodes of an etcd cluster, any of which may be down.
//!
//! A call goes to the node that answered last. Whatever goes wrong there, a refused connection
//! or a try that takes too long, the call is tried at the next node, round and round until its
//! patience ends. Every call can therefore be done twice, and must be made so that this does no
//! harm.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::uri::PathAndQuery;
use futures_util::stream;
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::store::StoreError;

/// Connections to every node.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Channel>,
    /// Index of the node that answered last.
    preferred: AtomicUsize,
    /// Whether the last call got an answer. While none does, calls give up early.
    answers: AtomicBool,
    patience: Duration,
}

/// What is called, by its path; and whether request and answer are streams of one message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Range,
    Txn,
    LeaseGrant,
    LeaseRevoke,
    LeaseKeepAlive,
}

impl Method {
    const fn path(self) -> &'static str {
        match self {
            Self::Range => "/etcdserverpb.KV/Range",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::LeaseGrant => "/etcdserverpb.Lease/LeaseGrant",
            Self::LeaseRevoke => "/etcdserverpb.Lease/LeaseRevoke",
            Self::LeaseKeepAlive => "/etcdserverpb.Lease/LeaseKeepAlive",
        }
    }
}

impl Nodes {
    /// Nodes by their addresses, `host:port`. Connections are made when they are needed.
    pub(super) fn new(addresses: &[String], patience: Duration) -> anyhow::Result<Self> {
        let mut nodes = Vec::with_capacity(addresses.len());
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .with_context(|| format!("`{address}` is no address of an etcd node"))?;
            let endpoint = endpoint
                .connect_timeout(TRY)
                .tcp_nodelay(true)
                // A node that vanished without a word is found out by these, not by the next call.
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true);
            nodes.push(endpoint.connect_lazy());
        }
        Ok(Self {
            // Replicas start at different nodes, so that the cluster shares their load.
            preferred: AtomicUsize::new(fastrand::usize(..nodes.len())),
            nodes,
            answers: AtomicBool::new(true),
            patience,
        })
    }

    /// Calls until a node answers.
    pub(super) async fn call<Q, A>(&self, method: Method, request: Q) -> Result<A, StoreError>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let hopeful = self.answers.load(Ordering::Relaxed);
        let patience = if hopeful { self.patience } else { FAST_FAIL };
        let deadline = Instant::now() + patience.min(self.patience);
        let mut index = self.preferred.load(Ordering::Relaxed);
        for tries in 1.. {
            let until = deadline.min(Instant::now() + TRY);
            let channel = self.nodes[index].clone();
            let status = match timeout_at(until, call(channel, method, request.clone())).await {
                Ok(Ok(answer)) => {
                    self.answers.store(true, Ordering::Relaxed);
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(status)) => status,
                Err(_elapsed) => Status::deadline_exceeded("the node did not answer in time"),
            };
            if let Some(error) = final_error(&status) {
                return Err(error);
            }
            let next = (index + 1) % self.nodes.len();
            // Other calls need not find out by themselves.
            let _ =
                self.preferred
                    .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            tracing::debug!(node = index, %status, "an etcd node does not answer");
            index = next;
            if Instant::now() + PAUSE >= deadline {
                self.answers.store(false, Ordering::Relaxed);
                return Err(StoreError::Unavailable(status.to_string()));
            }
            if tries % self.nodes.len() == 0 {
                sleep(PAUSE).await;
            }
        }
        unreachable!("the loop ends by returning")
    }
}

/// One try at one node.
async fn call<Q, A>(channel: Channel, method: Method, request: Q) -> Result<A, Status>
where
    Q: Message + Clone + Default + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(method.path());
    let codec = ProstCodec::<Q, A>::default();
    if matches!(method, Method::LeaseKeepAlive) {
        let request = Request::new(stream::iter([request]));
        let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
        let answer = answers.message().await?;
        return answer.ok_or_else(|| Status::unavailable("the node ended the stream"));
    }
    let answer = grpc.unary(Request::new(request), path, codec).await?;
    Ok(answer.into_inner())
}

/// The error, if another node would say the same.
fn final_error(status: &Status) -> Option<StoreError> {
    let text = || status.message().to_owned();
    match status.code() {
        Code::ResourceExhausted if status.message().contains("space exceeded") => {
            Some(StoreError::Full(text()))
        }
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented | Code::NotFound => {
            Some(StoreError::Broken(text()))
        }
        _ => None,
    }
}

/// Longest time of one try. A node answers in milliseconds; without a leader it waits for one,
/// and another node may know it earlier.
const TRY: Duration = Duration::from_millis(1500);
/// Patience of a call while no node has answered the calls before it.
const FAST_FAIL: Duration = Duration::from_millis(1800);
/// Time between rounds through all nodes.
const PAUSE: Duration = Duration::from_millis(50);
/// How often an idle connection is tested, and how long that may take.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
