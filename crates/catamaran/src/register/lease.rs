//! A registration and the lease that it stands under.

use catamaran_core::fleet::Registration;
use catamaran_etcd::{Client, Compare, EtcdError, Op, registration};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The server is to be found.
    Registered,
    /// It is not, for now.
    Withdrawn,
    /// Nor ever again.
    Ended,
}

/// Keeps the store to what is wished.
pub(super) struct Registrar {
    client: Client,
    key: String,
    registration: Registration,
    /// How long the registration outlives the last sign of life.
    ttl: Duration,
    lease: Option<u64>,
    /// Whether another registered by our name, and was left alone.
    is_replaced: bool,
    /// Whether the last thing that was tried failed, so that it is told once.
    is_failing: bool,
}

impl Registrar {
    pub(super) const fn new(
        client: Client,
        key: String,
        registration: Registration,
        ttl: Duration,
    ) -> Self {
        Self {
            client,
            key,
            registration,
            ttl,
            lease: None,
            is_replaced: false,
            is_failing: false,
        }
    }

    /// Does what is wished until it is over, and the server withdrawn.
    pub(super) async fn run(mut self, mut wishes: watch::Receiver<Wish>) {
        loop {
            let wish = *wishes.borrow_and_update();
            let result = match wish {
                Wish::Registered => self.keep().await,
                Wish::Withdrawn | Wish::Ended => self.withdraw().await,
            };
            let is_done = result.is_ok();
            self.tell(result);
            if wish == Wish::Ended && is_done {
                return;
            }
            // Often enough that one try may fail.
            let wait = if is_done {
                self.ttl / 3
            } else {
                RETRY.min(self.ttl / 3)
            };
            tokio::select! {
                () = sleep_until(Instant::now() + wait) => {}
                Ok(()) = wishes.changed() => {}
            }
        }
    }

    /// Registers, or gives a sign of life.
    async fn keep(&mut self) -> Result<(), EtcdError> {
        if let Some(lease) = self.lease {
            match self.client.keep_alive(lease).await {
                Ok(true) => return self.stand(lease).await,
                Err(error) if !error.is_lost_lease() => return Err(error),
                Ok(false) | Err(_) => self.lease = None,
            }
        }
        let lease = self.client.grant(self.ttl).await?;
        let value = registration::write(&self.registration);
        self.client.put(&self.key, &value, Some(lease)).await?;
        self.lease = Some(lease);
        self.is_replaced = false;
        tracing::info!(key = self.key, "registered");
        Ok(())
    }

    /// Sees to it that the registration stands as long as its lease. Whoever registered by our name
    /// later has taken our place, until it goes.
    async fn stand(&mut self, lease: u64) -> Result<(), EtcdError> {
        let found = self.client.peek(&self.key).await?;
        if let Some(found) = found.kvs.first() {
            let was_replaced = std::mem::replace(&mut self.is_replaced, found.lease != lease);
            if self.is_replaced && !was_replaced {
                tracing::warn!(
                    key = self.key,
                    "another has registered by this name and takes its place; give each a `--name` \
                     of its own"
                );
            }
            return Ok(());
        }
        let nobody = Compare::written_by(&self.key, 0);
        let value = registration::write(&self.registration);
        let put = Op::put_under(&self.key, &value, lease);
        if self
            .client
            .transact(vec![nobody], vec![put])
            .await?
            .succeeded
        {
            self.is_replaced = false;
            tracing::info!(key = self.key, "registered again: it was gone");
        }
        Ok(())
    }

    /// Says that the server leaves, and takes its registration away; not that of another by its name.
    async fn withdraw(&mut self) -> Result<(), EtcdError> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        let leaving = Registration {
            is_leaving: true,
            ..self.registration
        };
        let value = registration::write(&leaving);
        let is_ours = Compare::leased(&self.key, lease);
        let say = Op::put_under(&self.key, &value, lease);
        let said = self.client.transact(vec![is_ours], vec![say]).await;
        let done = match said {
            Ok(_) => self.client.revoke(lease).await,
            Err(error) => Err(error),
        };
        match done {
            // What ran out meanwhile is gone already.
            Err(error) if !error.is_lost_lease() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.lease = None;
        tracing::info!(key = self.key, "withdrawn");
        Ok(())
    }

    fn tell(&mut self, result: Result<(), EtcdError>) {
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::warn!(%error, "etcd does not do it; it is tried again");
            }
            Err(error) => tracing::debug!(%error, "etcd still does not do it"),
        }
    }
}

/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
