//! Sockets: groups of listeners, accepted and outgoing connections, datagrams.
//!
//! Everything opened here is non-blocking and closed on exec.

mod connection;
mod datagram;
mod listen;
mod silence;

pub use connection::{
    ConnectState, LocalEnd, PeekResult, accept, connect_tcp, connect_tcp_from, connect_unix,
    is_reset, peek, set_linger_zero, set_nodelay, set_user_timeout, shutdown_write, take_error,
    unsent_bytes,
};
pub use datagram::{
    Datagram, LocalAddr, connect_udp, connect_udp_from, recv_with_dst, send_to_from,
};
pub use listen::{
    Kind, adopt, kind, listen_group, listen_group_beside, local_addr, udp_group, udp_group_beside,
};
pub use silence::{Silence, set_silent};
