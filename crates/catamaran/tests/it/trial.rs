//! How often trials are repeated, what processes hold open meanwhile, and what the kernel drops.

use catamaran_testkit::{Process, Report, descendants};
use std::time::Duration;

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

/// Connections that the kernel dropped at listening sockets: ListenOverflows and ListenDrops.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Drops(Vec<u64>);

impl Drops {
    /// As counted so far, for all programs of this network namespace.
    pub(crate) fn so_far() -> Self {
        let text = std::fs::read_to_string("/proc/net/netstat").unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let each = names.split(' ').zip(values.split(' '));
        let counts = each
            .filter(|(name, _)| ["ListenOverflows", "ListenDrops"].contains(name))
            .map(|(_, value)| value.parse().unwrap());
        Self(counts.collect())
    }

    /// Asserts that there are no more by now, and no connect was slow: where nobody else uses the
    /// namespace, as in `cargo xtask interop reloads`. Returns how it was.
    pub(crate) fn assert_no_more(&self, reports: &[Report]) -> String {
        let now = Self::so_far();
        let slowest = reports.iter().map(|report| report.slowest_connect).max();
        if std::env::var_os("CATAMARAN_ALONE").is_some() {
            assert_eq!(now, *self);
            assert!(slowest <= Some(SLOWEST), "{slowest:?}");
        }
        format!("ListenOverflows, ListenDrops: {self:?}, then {now:?}; slowest connect {slowest:?}")
    }
}

/// What a connect may take: one that the kernel drops is tried again after a second.
const SLOWEST: Duration = Duration::from_millis(900);

/// How often a trial is repeated: in full with `CATAMARAN_ROUNDS=full`, as `cargo xtask ci` sets
/// it, else a tenth of that, which keeps a plain `cargo test` short.
pub(crate) fn rounds(full: usize) -> usize {
    if is_full() { full } else { full / 10 }
}

/// Whether trials are to be run in full.
pub(crate) fn is_full() -> bool {
    std::env::var("CATAMARAN_ROUNDS").is_ok_and(|asked| asked == "full")
}
