//! How often trials are repeated, and what processes hold open meanwhile.

use catamaran_testkit::{Process, descendants};

/// Pipes that the data process of a balancer holds open. Its standard streams are not counted.
pub(crate) fn open_pipes(balancer: &Process) -> usize {
    let data = descendants(balancer.pid());
    let files = data.iter().flat_map(|pid| open_files(*pid));
    let ends = files.filter(|(number, file)| *number > 2 && file.starts_with("pipe:"));
    ends.count() / 2
}

/// The descriptors of a process and what they are, `socket:[1]` or `pipe:[2]`.
pub(crate) fn open_files(pid: u32) -> Vec<(u32, String)> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let number = file.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(file.path()).ok()?;
            Some((number, target.to_str()?.to_owned()))
        })
        .collect()
}

/// How often a trial is repeated: in full with `CATAMARAN_ROUNDS=full`, as `cargo xtask ci` sets
/// it, else a tenth of that, which keeps a plain `cargo test` short.
pub(crate) fn rounds(full: usize) -> usize {
    if is_full() { full } else { full / 10 }
}

/// Whether trials are to be run in full.
pub(crate) fn is_full() -> bool {
    std::env::var("CATAMARAN_ROUNDS").is_ok_and(|asked| asked == "full")
}
