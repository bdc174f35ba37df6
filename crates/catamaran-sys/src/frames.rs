//! Whole frames, past the IP stack (`packet(7)`).

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A non-blocking socket for the frames of one interface.
#[derive(Debug)]
pub struct Frames {
    socket: Socket,
}

impl Frames {
    /// Opens a socket on the interface with that index on which nothing arrives.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn to_send(interface: u32) -> io::Result<Self> {
        Self::open(interface, 0)
    }

    /// Opens a socket on the interface with that index on which the frames of ARP arrive, and
    /// nothing else. It sends frames of any kind.
    ///
    /// # Errors
    /// As [`Frames::to_send`].
    pub fn of_arp(interface: u32) -> io::Result<Self> {
        Self::open(
            interface,
            u16::try_from(libc::ETH_P_ARP).unwrap_or_default(),
        )
    }

    fn open(interface: u32, protocol: u16) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        // Without a protocol nothing arrives before the interface is known.
        let socket = Socket::new(Domain::PACKET, kind, None)?;
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: sockaddr_ll is plain integers and fits in the storage.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        link.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        link.sll_protocol = protocol.to_be();
        link.sll_ifindex = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
        let len = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        // SAFETY: the storage holds a link address of that length.
        let address = unsafe { SockAddr::new(storage, len) };
        socket.bind(&address)?;
        Ok(Self { socket })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// What `send(2)` reports.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)?;
        Ok(())
    }

    /// Receives the next frame into `buf`; what is longer than that is cut. Its length is 0 if the
    /// frame was sent by this host, or to another one.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else what `recvfrom(2)` reports.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut storage = SockAddrStorage::zeroed();
        let mut len = storage.size_of();
        // SAFETY: buffer and storage live through the call, which writes no more than their lengths.
        let received = unsafe {
            libc::recvfrom(
                std::os::fd::AsRawFd::as_raw_fd(&self.socket),
                buf.as_mut_ptr().cast(),
                buf.len(),
                0,
                std::ptr::from_mut(&mut storage).cast(),
                &raw mut len,
            )
        };
        let received = crate::check_len(received)?;
        // SAFETY: sockaddr_ll is plain integers and fits in the storage.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        let is_for_us = [
            libc::PACKET_HOST,
            libc::PACKET_BROADCAST,
            libc::PACKET_MULTICAST,
        ]
        .contains(&link.sll_pkttype);
        Ok(if is_for_us { received } else { 0 })
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
