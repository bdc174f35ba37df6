//! Files that lie in memory only, and outlive the process that writes them for as long as another
//! holds a descriptor (`memfd_create(2)`).

use crate::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Makes an empty file without a path, closed on exec. `name` is what `/proc` shows of it.
///
/// # Errors
/// When descriptors or memory are used up, or `name` holds a zero byte.
pub fn anonymous_file(name: &str) -> io::Result<File> {
    let name = std::ffi::CString::new(name)?;
    // Kernels from 6.3 on want to be told that nobody will execute it; older ones know no such word.
    let flags = libc::MFD_CLOEXEC | MFD_NOEXEC_SEAL;
    // SAFETY: `name` is a string that ends with a zero and lives through the call.
    let mut made = check(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    if made
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    {
        // SAFETY: as above.
        made = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) });
    }
    let number = made?;
    // SAFETY: memfd_create succeeded, so this descriptor is open and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(file.into())
}

/// Gives back the memory of `len` bytes of a file from `offset` on; they read as zero from then on.
///
/// # Errors
/// What `fallocate(2)` reports, `InvalidInput` when a number is beyond what files may have.
pub fn discard(file: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off_t::try_from(offset).map_err(too_far)?;
    let len = libc::off_t::try_from(len).map_err(too_far)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate takes integers and touches no memory of ours.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })?;
    Ok(())
}

/// `linux/memfd.h`, since Linux 6.3.
const MFD_NOEXEC_SEAL: libc::c_uint = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn far_places_take_memory_only_where_something_is_written() {
        let file = anonymous_file("test").unwrap();
        let far = 1 << 50;
        file.write_all_at(b"here", far).unwrap();
        let mut read = [7; 6];
        file.read_exact_at(&mut read[..4], far).unwrap();
        assert_eq!(&read[..4], b"here");
        file.read_exact_at(&mut read, 1 << 40).unwrap();
        assert_eq!(read, [0; 6]);
        assert!(file.metadata().unwrap().blocks() <= 16);
        discard(file.as_fd(), far, 1 << 20).unwrap();
        file.read_exact_at(&mut read[..4], far).unwrap();
        assert_eq!(read[..4], [0; 4]);
    }
}
