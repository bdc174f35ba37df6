//! Requests to the nodes of an etcd cluster.
//!
//! [`Client`] knows all nodes and tries one after the other; a [`Node`] is one of them. Every
//! request has a connection of its own and the time of the configuration, connecting included.

mod connect;
mod watch;

pub use watch::{Batch, Watch};

use crate::error::{EtcdError, SetupError};
use crate::keys::range_end;
use crate::message::{Compare, Lease, Op, Range, Refusal, Streamed, Token, Txn, encoded, txn};
use catamaran_core::model::{Etcd, EtcdEndpoint, EtcdUser};
use connect::{Connector, Sender};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// A client of an etcd cluster.
#[derive(Debug)]
pub struct Client {
    nodes: Vec<EtcdEndpoint>,
    connector: Connector,
    user: Option<EtcdUser>,
    /// What etcd gave for the user's password.
    token: Mutex<Option<String>>,
    timeout: Duration,
    /// The node that was asked last, counted on for ever.
    turn: AtomicUsize,
}

/// One node of the cluster, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    client: &'a Client,
    endpoint: &'a EtcdEndpoint,
}

impl Client {
    /// A client of the cluster that is configured. Nothing is connected yet.
    ///
    /// # Errors
    /// [`SetupError`] if the certificates cannot be used.
    pub fn new(etcd: &Etcd) -> Result<Self, SetupError> {
        Ok(Self {
            nodes: etcd.endpoints.clone(),
            connector: Connector::new(etcd.tls.as_ref())?,
            user: etcd.user.clone(),
            token: Mutex::default(),
            timeout: etcd.timeout,
            turn: AtomicUsize::new(fastrand::usize(..etcd.endpoints.len().max(1))),
        })
    }

    /// The node that is asked first for now.
    #[must_use]
    pub fn node(&self) -> Node<'_> {
        let turn = self.turn.load(Relaxed);
        Node {
            client: self,
            endpoint: &self.nodes[turn % self.nodes.len()],
        }
    }

    /// Has another node asked first from now on.
    pub fn turn(&self) {
        self.turn.fetch_add(1, Relaxed);
    }

    /// Does something at the first node that can do it, trying each once.
    async fn at_any<'a, T, F: Future<Output = Result<T, EtcdError>>>(
        &'a self,
        act: impl Fn(Node<'a>) -> F,
    ) -> Result<T, EtcdError> {
        let mut left = self.nodes.len();
        loop {
            left -= 1;
            match act(self.node()).await {
                Err(error) if error.is_of_node() => {
                    self.turn();
                    if left == 0 {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// All keys that begin with `prefix`.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn list(&self, prefix: &str) -> Result<Range, EtcdError> {
        self.at_any(|node| node.list(prefix)).await
    }

    /// All keys that begin with `prefix`, without their values.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn list_keys(&self, prefix: &str) -> Result<Range, EtcdError> {
        let mut body = range(prefix);
        body["keys_only"] = true.into();
        self.at_any(|node| node.ask("/v3/kv/range", body.clone()))
            .await
    }

    /// One key.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn get(&self, key: &str) -> Result<Range, EtcdError> {
        let body = json!({ "key": encoded(key) });
        self.at_any(|node| node.ask("/v3/kv/range", body.clone()))
            .await
    }

    /// One key as the node that is asked has it, which may be late. Costs the cluster nothing.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn peek(&self, key: &str) -> Result<Range, EtcdError> {
        let body = json!({ "key": encoded(key), "serializable": true });
        self.at_any(|node| node.ask("/v3/kv/range", body.clone()))
            .await
    }

    /// Does `then` in one step if all that is compared holds.
    ///
    /// A transaction whose answer was lost may have been done, and is done again at another node:
    /// compare, or write what may be written twice.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn transact(&self, compare: Vec<Compare>, then: Vec<Op>) -> Result<Txn, EtcdError> {
        let body = txn(compare, then);
        self.at_any(|node| node.ask("/v3/kv/txn", body.clone()))
            .await
    }

    /// Writes a key; with `lease` it ends with that.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn put(&self, key: &str, value: &[u8], lease: Option<u64>) -> Result<(), EtcdError> {
        let mut body = json!({ "key": encoded(key), "value": encoded(value) });
        if let Some(lease) = lease {
            body["lease"] = lease.to_string().into();
        }
        let put = self.at_any(|node| node.ask::<Value>("/v3/kv/put", body.clone()));
        put.await.map(drop)
    }

    /// Grants a lease that ends `time` after it was kept alive last, in whole seconds.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn grant(&self, time: Duration) -> Result<u64, EtcdError> {
        let body = json!({ "TTL": time.as_secs().max(1).to_string() });
        // One that was granted in vain ends by itself.
        let lease = self.at_any(|node| node.ask::<Lease>("/v3/lease/grant", body.clone()));
        lease.await.map(|lease| lease.id)
    }

    /// Keeps a lease alive. Returns whether it still is.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn keep_alive(&self, lease: u64) -> Result<bool, EtcdError> {
        let body = json!({ "ID": lease.to_string() });
        let kept: Streamed<Lease> = self
            .at_any(|node| node.ask("/v3/lease/keepalive", body.clone()))
            .await?;
        match (kept.result, kept.error) {
            (Some(lease), None) => Ok(lease.ttl > 0),
            (_, error) => Err(self.node().refused(error.unwrap_or_default())),
        }
    }

    /// Ends a lease, and every key under it.
    ///
    /// # Errors
    /// [`EtcdError`] of the last node that was tried.
    pub async fn revoke(&self, lease: u64) -> Result<(), EtcdError> {
        let body = json!({ "ID": lease.to_string() });
        let revoked = self.at_any(|node| node.ask::<Value>("/v3/lease/revoke", body.clone()));
        revoked.await.map(drop)
    }

    fn token(&self) -> Option<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    fn set_token(&self, token: Option<String>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl Node<'_> {
    /// Where it is.
    #[must_use]
    pub const fn endpoint(&self) -> &EtcdEndpoint {
        self.endpoint
    }

    /// All keys that begin with `prefix`, as the majority of the cluster has them.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn list(self, prefix: &str) -> Result<Range, EtcdError> {
        self.ask("/v3/kv/range", range(prefix)).await
    }

    /// The key behind `prefix` that was written last, without its value, and how many there are, as
    /// the majority of the cluster has them.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn newest(self, prefix: &str) -> Result<Range, EtcdError> {
        let mut body = range(prefix);
        body["keys_only"] = true.into();
        body["limit"] = "1".into();
        body["sort_order"] = "DESCEND".into();
        body["sort_target"] = "MOD".into();
        self.ask("/v3/kv/range", body).await
    }

    /// Asks for one answer, having shown who we are.
    async fn ask<T: DeserializeOwned>(self, path: &str, body: Value) -> Result<T, EtcdError> {
        self.in_time(async {
            let response = self.begin(path, &body).await?;
            self.read(response).await
        })
        .await
    }

    async fn in_time<T>(
        self,
        act: impl Future<Output = Result<T, EtcdError>>,
    ) -> Result<T, EtcdError> {
        let after = self.client.timeout;
        timeout(after, act).await.unwrap_or_else(|_| {
            Err(EtcdError::Timeout {
                node: self.endpoint.clone(),
                after,
            })
        })
    }

    /// Sends a request, once more if the token was no longer good.
    async fn begin(self, path: &str, body: &Value) -> Result<Response<Incoming>, EtcdError> {
        let body = Bytes::from(body.to_string());
        let is_fresh = self.client.token().is_none();
        match self.try_begin(path, body.clone()).await {
            Err(error) if self.client.user.is_some() && !is_fresh && error.is_stale_token() => {
                self.client.set_token(None);
                self.try_begin(path, body).await
            }
            done => done,
        }
    }

    async fn try_begin(self, path: &str, body: Bytes) -> Result<Response<Incoming>, EtcdError> {
        let token = match (&self.client.user, self.client.token()) {
            (None, _) => None,
            (Some(_), Some(token)) => Some(token),
            (Some(user), None) => Some(self.authenticate(user).await?),
        };
        self.send(path, body, token.as_deref()).await
    }

    async fn authenticate(self, user: &EtcdUser) -> Result<String, EtcdError> {
        let body = json!({ "name": user.name, "password": user.password.reveal() });
        let body = Bytes::from(body.to_string());
        let response = self.send("/v3/auth/authenticate", body, None).await?;
        let Token { token } = self.read(response).await?;
        self.client.set_token(Some(token.clone()));
        Ok(token)
    }

    /// Sends a request and waits for the head of its answer, which is none of a failure.
    async fn send(
        self,
        path: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<Response<Incoming>, EtcdError> {
        let mut sender: Sender = self.client.connector.connect(self.endpoint).await?;
        let mut request = Request::post(path)
            .header(HOST, self.endpoint.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token)
                .map_err(|_| self.strange("its token is no value of a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.strange(&error.to_string()))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|source| self.broken(source))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let told = self.bytes(response).await?;
        match serde_json::from_slice::<Refusal>(&told) {
            Ok(refusal) if !refusal.message.is_empty() => Err(self.refused(refusal)),
            _ => {
                let words = String::from_utf8_lossy(&told);
                let words: String = words.trim().chars().take(MAX_WORDS).collect();
                let words = words.escape_debug();
                Err(self.strange(&format!("it answered with status {status}: {words}")))
            }
        }
    }

    async fn read<T: DeserializeOwned>(self, response: Response<Incoming>) -> Result<T, EtcdError> {
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.strange(&format!("its answer is not as expected ({error})")))
    }

    async fn bytes(self, response: Response<Incoming>) -> Result<Bytes, EtcdError> {
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let whole = body.collect().await;
        let whole = whole.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(source) => self.broken(*source),
            Err(_) => self.strange("its answer has more than 64 MiB"),
        });
        Ok(whole?.to_bytes())
    }

    fn refused(self, refusal: Refusal) -> EtcdError {
        EtcdError::Refused {
            node: self.endpoint.clone(),
            code: refusal.code.max(refusal.grpc_code),
            message: refusal.message,
        }
    }

    fn broken(self, source: hyper::Error) -> EtcdError {
        let node = self.endpoint.clone();
        EtcdError::Broken { node, source }
    }

    fn strange(self, what: &str) -> EtcdError {
        EtcdError::Strange {
            node: self.endpoint.clone(),
            what: what.to_owned(),
        }
    }
}

fn range(prefix: &str) -> Value {
    json!({ "key": encoded(prefix), "range_end": encoded(range_end(prefix)) })
}

/// Characters that are told of an answer that is none of etcd's.
const MAX_WORDS: usize = 200;
/// Bytes of one answer. Chosen: ten thousand servers and the largest text are a tenth of it.
const MAX_ANSWER: usize = 64 << 20;
