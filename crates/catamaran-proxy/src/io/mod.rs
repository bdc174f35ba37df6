//! Bytes in and out: sockets, buffers and pipes, without a thought for what the bytes mean.

mod acceptor;
mod buffer;
mod pipes;
mod stream;

pub(crate) use acceptor::Acceptor;
pub(crate) use buffer::{Buffer, BufferPool, LARGE};
pub(crate) use pipes::{PipePool, splice_from};
pub(crate) use stream::{Breakage, Seen, Stream};
