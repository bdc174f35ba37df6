//! Runs a program under test as a real process: start, wait until ready, kill, stop, measure.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::usage::{Usage, descendants};

/// How often a condition outside our process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long the output of a process that has ended is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A directory that is removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates an empty directory under the system's temporary directory.
    pub fn create() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "catamaran-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns its path.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of the directory.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A program to start.
#[derive(Debug)]
pub struct Program {
    command: Command,
    dir: TempDir,
}

impl Program {
    /// The program at this path, such as `env!("CARGO_BIN_EXE_catamaran")`.
    ///
    /// It runs in a temporary directory and a process group of its own.
    pub fn new(path: impl Into<OsString>) -> io::Result<Self> {
        let dir = TempDir::create()?;
        let mut command = Command::new(path.into());
        command.current_dir(dir.path());
        // Sockets of tests are not to lie among those of the machine's own service.
        command.env("RUNTIME_DIRECTORY", dir.path().join("catamaran"));
        command.env_remove("XDG_RUNTIME_DIR");
        Ok(Self { command, dir })
    }

    /// `PATH run -c FILE` with this configuration in a file.
    pub fn run_config(path: impl Into<OsString>, config: &str) -> io::Result<Self> {
        let program = Self::new(path)?;
        let file = program.dir.write("catamaran.toml", config)?;
        Ok(program.args(["run", "-c"]).arg(file))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.arg(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Has it started by another program, which gets its path and arguments behind these words:
    /// `prlimit`, say, or `nice`. That must become it (exec) rather than start it.
    #[must_use]
    pub fn under(self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.command.get_program());
        command.args(self.command.get_args());
        command.current_dir(self.dir.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command, ..self }
    }

    /// Starts it.
    pub fn start(mut self) -> io::Result<Process> {
        use std::os::unix::process::CommandExt as _;
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stdout = Transcript::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Transcript::collect(child.stderr.take().expect("stderr is piped"));
        Ok(Process {
            child,
            dir: self.dir,
            stdout,
            stderr,
            status: None,
        })
    }
}

/// A running program. Dropping it kills it and all it has started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    dir: TempDir,
    stdout: Arc<Transcript>,
    stderr: Arc<Transcript>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory it runs in.
    #[must_use]
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// The path of its configuration file, when started by [`Program::run_config`].
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("catamaran.toml")
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text().clone()
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text().clone()
    }

    /// Waits until something accepts connections at this address.
    pub fn wait_for_port(&mut self, addr: SocketAddr, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if TcpStream::connect_timeout(&addr, LOOK * 20).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.try_wait()? {
                bail!(
                    "exited with {status} before {addr} accepted: {}",
                    self.stderr()
                );
            }
            if Instant::now() > deadline {
                bail!("{addr} does not accept: {}", self.stderr());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until stderr holds this text.
    pub fn wait_for_stderr(&self, text: &str, patience: Duration) -> Result<()> {
        let found = self.stderr.wait_for(text, patience);
        found.with_context(|| format!("stderr has no `{text}`: {}", self.stderr()))
    }

    /// Waits until stdout holds this text.
    pub fn wait_for_stdout(&self, text: &str, patience: Duration) -> Result<()> {
        let found = self.stdout.wait_for(text, patience);
        found.with_context(|| {
            let (out, err) = (self.stdout(), self.stderr());
            format!("stdout has no `{text}`: {out}{err}")
        })
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.try_wait()? {
                // What it said last is on its way still; what it has started may never fall silent.
                let until = Instant::now() + LAST_WORDS;
                self.stdout.wait_for_end(until);
                self.stderr.wait_for_end(until);
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("still running after {patience:?}: {}", self.stderr());
            }
            thread::sleep(LOOK);
        }
    }

    /// Its exit status, if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        signal_pid(self.pid(), signal)
    }

    /// Sends a signal to every process of its group at the same moment, as a terminal does.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        let group = Pid::from_raw(self.pid().cast_signed())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(kill_process_group(group, signal)?)
    }

    /// Kills the process itself with SIGKILL and waits for its end; its children live on.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.try_wait()?.is_none() {
            self.child.kill()?;
            self.status = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Stops it in its tracks (SIGSTOP), with all it has started.
    pub fn hang(&self) -> io::Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// Lets it go on (SIGCONT), with all it has started.
    pub fn resume(&self) -> io::Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal_all(&self, signal: Signal) -> io::Result<()> {
        for pid in self.pids() {
            signal_pid(pid, signal)?;
        }
        Ok(())
    }

    /// The process and all its descendants.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.pid()];
        pids.extend(descendants(self.pid()));
        pids
    }

    /// CPU time and memory of the process and all its descendants together.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut total = Usage::default();
        for pid in self.pids() {
            total += Usage::of(pid)?;
        }
        Ok(total)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let orphans = self.pids();
        if let Some(group) = Pid::from_raw(self.pid().cast_signed()) {
            // The group is gone when everything in it has ended already.
            kill_process_group(group, Signal::KILL).ok();
        }
        for pid in orphans.into_iter().skip(1) {
            signal_pid(pid, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

/// Sends a signal to any process.
pub fn signal_pid(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = Pid::from_raw(pid.cast_signed())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}

/// Text collected from a pipe by a thread of its own.
#[derive(Debug, Default)]
struct Transcript {
    text: Mutex<String>,
    /// Set with the text locked, so that whoever waits for it is woken.
    has_ended: AtomicBool,
    grown: Condvar,
}

impl Transcript {
    fn collect(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let transcript = Arc::new(Self::default());
        let writer = Arc::clone(&transcript);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                writer.text().push_str(&String::from_utf8_lossy(&line));
                writer.grown.notify_all();
                line.clear();
            }
            let text = writer.text();
            writer.has_ended.store(true, Ordering::Relaxed);
            drop(text);
            writer.grown.notify_all();
        });
        transcript
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing more can come, or until `until`.
    fn wait_for_end(&self, until: Instant) {
        let patience = until.saturating_duration_since(Instant::now());
        let _ = self.grown.wait_timeout_while(self.text(), patience, |_| {
            !self.has_ended.load(Ordering::Relaxed)
        });
    }

    /// Waits for a text; `None` when it has not come in time.
    fn wait_for(&self, wanted: &str, patience: Duration) -> Option<()> {
        let (_text, result) = self
            .grown
            .wait_timeout_while(self.text(), patience, |text| !text.contains(wanted))
            .unwrap_or_else(PoisonError::into_inner);
        (!result.timed_out()).then_some(())
    }
}

/// Returns a TCP port of 127.0.0.1 on which nothing listens now.
///
/// Each call within one process gives another port, and none that the kernel gives by itself to
/// whoever connects (`ip_local_port_range` of `ip(7)` begins at 32768 unless changed). Between this
/// call and its use another program may take it all the same; where the program under test can say
/// which port it got, ask it instead.
pub fn free_port() -> io::Result<u16> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Two test programs at once begin at different places.
    let start = u16::try_from(std::process::id() * 97 % u32::from(PORTS)).unwrap_or(0);
    for _ in 0..PORTS {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + (start + tried % PORTS) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The ports that [`free_port`] looks at.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;

/// [`free_port`] with its address.
pub fn free_addr() -> io::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        let program = Program::new("/bin/sh").unwrap();
        program.args(["-c", script]).start().unwrap()
    }

    #[test]
    fn output_is_collected_and_the_exit_status_told() {
        let mut process = shell("echo out; echo err >&2; exit 3");
        process.wait_for_stdout("out", PATIENCE).unwrap();
        process.wait_for_stderr("err", PATIENCE).unwrap();
        assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(3));
    }

    #[test]
    fn a_text_that_never_comes_is_an_error_with_what_came() {
        let process = shell("echo this >&2; sleep 10");
        process.wait_for_stderr("this", PATIENCE).unwrap();
        let error = process
            .wait_for_stderr("that", Duration::from_millis(20))
            .unwrap_err();
        assert!(error.to_string().contains("this"));
    }

    #[test]
    fn dropping_kills_the_children_too() {
        let process = shell("sleep 100 & echo up; wait");
        process.wait_for_stdout("up", PATIENCE).unwrap();
        let pids = process.pids();
        assert_eq!(pids.len(), 2);
        drop(process);
        let deadline = Instant::now() + PATIENCE;
        while Usage::of(pids[1]).is_ok_and(|usage| usage.resident_bytes > 0) {
            assert!(Instant::now() < deadline, "the child lives on");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn free_ports_differ() {
        assert_ne!(free_port().unwrap(), free_port().unwrap());
    }
}
