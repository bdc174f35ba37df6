//! The fleet that a balancer of other tests belongs to, if it is built for one.

#[cfg(feature = "etcd")]
use crate::etcd::Store;

/// A store that is there as long as this.
pub(crate) struct Fleet {
    #[cfg(feature = "etcd")]
    store: Store,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "etcd")]
            store: Store::start(),
        }
    }

    /// The section of a node of it; nothing in a program that knows none.
    #[cfg_attr(
        not(feature = "etcd"),
        expect(clippy::unused_self, reason = "with etcd it tells where the store is")
    )]
    pub(crate) fn section(&self) -> String {
        #[cfg(feature = "etcd")]
        let section = format!(
            "[etcd]\nendpoints = \"{}\"\ninterval = \"100ms\"\n",
            self.store.addr()
        );
        #[cfg(not(feature = "etcd"))]
        let section = String::new();
        section
    }

    /// Becomes another cluster, in which there is nothing.
    #[cfg(feature = "etcd")]
    pub(crate) fn wipe(&self) {
        self.store.wipe();
    }
}
