//! Pipes for splice(2), and the pool of one worker that lends them.

use catamaran_sys::splice::Pipe;
use std::cell::RefCell;
use std::io;

/// Room asked for in each pipe, in bytes. An unprivileged user gets about a thousand such pipes
/// before the kernel hands out smaller ones (pipe(7), `pipe-user-pages-soft`); smaller ones work.
const PIPE_BYTES: usize = 256 * 1024;
/// Empty pipes kept at most; each costs two descriptors.
const MAX_POOLED: usize = 64;

/// From how many bytes on splice(2) is used: `measured`, unless this is built by the benchmark that
/// measures just that (`cargo xtask bench --splice-switch`, figures in docs/benchmarks.md).
///
/// # Panics
/// While compiling, when the benchmark's variable is no number.
pub(crate) const fn splice_from(measured: u64) -> u64 {
    match option_env!("CATAMARAN_BENCH_SPLICE_FROM") {
        None => measured,
        Some(text) => match u64::from_str_radix(text, 10) {
            Ok(bytes) => bytes,
            Err(_) => panic!("CATAMARAN_BENCH_SPLICE_FROM is a number of bytes"),
        },
    }
}

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
