//! Who answers the neighbours after a kill: for a minute the client forgets where the address is
//! every second, and each of its questions must have exactly one answer.

use anyhow::{Result, ensure};

use super::super::lab::{PATIENCE, wait_for};
use super::load::Order;
use super::side::Side;
use super::{Load, Pair, V4, V6, target};
use crate::shell;

/// Questions after one address, and how many answers each had.
#[derive(Debug, Default)]
struct Asked {
    /// Link addresses in the answers to each question.
    answers: Vec<Vec<String>>,
}

/// Kills the active, and counts.
pub(super) fn run(program: &str, side: Side) -> Result<()> {
    let mut pair = Pair::start(program, side, 100)?;
    let filter = "arp or (icmp6 and (ip6[40] = 135 or ip6[40] = 136))";
    let arguments = ["-i", "eth0", "-nn", "-l", "-U", "-vv", filter];
    let dump = pair.lab.start("client", "tcpdump", &arguments)?;
    wait_for("tcpdump", PATIENCE, || {
        Ok(dump.text()?.contains("listening on"))
    })?;
    pair.one.kill()?;
    pair.lab.wait_for_address("two", V4)?;
    let load = Load::start(
        &pair.lab,
        &Order {
            targets: vec![target(V4)?, target(V6)?],
            rate: 50,
            seconds: seconds(),
            flushes: true,
        },
    )?;
    let outcome = load.end()?;
    let lost = outcome.requests.iter().filter(|request| !request.1).count();
    let text = dump.text()?;
    for (address, family) in [(V4, "ARP"), (V6, "ND")] {
        let asked = Asked::read(&text, address);
        shell::say(&format!(
            "{}, after a kill: {} questions by {family}, {} with exactly one answer, {} with none, \
             {} with more",
            side.name(),
            asked.answers.len(),
            asked.count(|answers| answers == 1),
            asked.count(|answers| answers == 0),
            asked.count(|answers| answers > 1),
        ));
        if side != Side::Keepalived {
            ensure!(asked.answers.len() > 3, "hardly anything was asked");
            ensure!(
                asked.count(|answers| answers > 1) == 0,
                "two nodes answer: {asked:?}"
            );
        }
    }
    shell::say(&format!(
        "{}: {lost} of {} requests lost meanwhile",
        side.name(),
        outcome.requests.len()
    ));
    ensure!(
        side == Side::Keepalived || lost * 2 < outcome.requests.len(),
        "the node that took over does not serve"
    );
    let machine = pair.one;
    machine.clean_up(&pair.lab, "one")
}

impl Asked {
    /// Reads what tcpdump wrote: an answer belongs to the last question.
    fn read(text: &str, address: &str) -> Self {
        let mut asked = Self::default();
        for line in text.lines() {
            // Of ARP one line says all; of ND the address stands in the same line as well.
            let asks = line.contains(&format!("who-has {address} "))
                && !line.contains(&format!("tell {address}"))
                || line.contains("neighbor solicitation")
                    && line.contains(&format!("who has {address}"));
            let answers = line.contains(&format!("Reply {address} is-at"))
                || line.contains("neighbor advertisement")
                    && line.contains(&format!("tgt is {address}"))
                    && line.contains("solicited");
            if asks {
                asked.answers.push(Vec::new());
            } else if answers && let Some(last) = asked.answers.last_mut() {
                last.push(line.to_owned());
            }
        }
        asked
    }

    fn count(&self, is_it: impl Fn(usize) -> bool) -> usize {
        let counts = self.answers.iter().map(Vec::len);
        counts.filter(|&count| is_it(count)).count()
    }
}

fn seconds() -> u32 {
    let is_full = std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full");
    if is_full { 60 } else { 10 }
}
