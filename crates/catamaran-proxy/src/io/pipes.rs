//! Pipes for splice(2), and the pool of one worker that lends them.

use catamaran_sys::splice::Pipe;
use std::cell::RefCell;
use std::io;

/// Room asked for in each pipe, in bytes. An unprivileged user gets about a thousand such pipes
/// before the kernel hands out smaller ones (pipe(7), `pipe-user-pages-soft`); smaller ones work.
const PIPE_BYTES: usize = 256 * 1024;
/// Empty pipes kept at most; each costs two descriptors.
const MAX_POOLED: usize = 64;

/// The pipes of one worker that nobody borrows. All are empty.
#[derive(Debug, Default)]
pub(crate) struct PipePool(RefCell<Vec<Pipe>>);

impl PipePool {
    /// Lends an empty pipe.
    pub(crate) fn take(&self) -> io::Result<Pipe> {
        match self.0.borrow_mut().pop() {
            Some(pipe) => Ok(pipe),
            None => Pipe::new(PIPE_BYTES),
        }
    }

    /// Takes back a pipe that is known to be empty. One that is not must be dropped instead, or its
    /// bytes would reach another connection.
    pub(crate) fn give_back_empty(&self, pipe: Pipe) {
        let mut pool = self.0.borrow_mut();
        if pool.len() < MAX_POOLED {
            pool.push(pipe);
        }
    }
}
