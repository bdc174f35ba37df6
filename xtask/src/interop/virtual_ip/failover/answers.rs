//! Who answers the neighbours after a kill: for a minute the client forgets where the address is
//! every second, and each of its questions must have exactly one answer. In full: after twenty kills.

use anyhow::{Result, ensure};

use super::super::lab::{PATIENCE, wait_for};
use super::super::pair;
use super::load::Order;
use super::side::Side;
use super::{Load, Pair, V4, V6, at_once, target};
use crate::shell;

/// Questions of the client after one address, and how many answers each had. The nodes ask as well, to
/// see whether the address is still held.
#[derive(Debug, Default)]
struct Asked {
    /// Link addresses in the answers to each question.
    answers: Vec<Vec<String>>,
}

/// What followed one kill, or several.
#[derive(Debug, Default)]
struct Aftermath {
    arp: Asked,
    nd: Asked,
    requests: usize,
    lost: usize,
}

/// Kills actives, and counts. The kills of a round are of pairs that know nothing of each other.
pub(super) fn run(program: &str) -> Result<()> {
    let (kills, lanes) = if pair::is_full() { (20, 4) } else { (1, 1) };
    let sides = [
        Side::Catamaran,
        Side::CatamaranWithVirtualMac,
        Side::Keepalived,
    ];
    let mut sums = sides.map(|_| Aftermath::default());
    for _ in 0..kills / lanes {
        let all = sides.iter().enumerate();
        let all: Vec<_> = all.flat_map(|one| vec![one; lanes]).collect();
        let rounds = at_once(all, |(index, &side)| Ok((index, kill(program, side)?)))?;
        for (index, aftermath) in rounds {
            sums[index].add(aftermath);
        }
    }
    for (side, sum) in sides.iter().zip(&sums) {
        sum.tell(*side, kills);
    }
    for (side, sum) in sides.iter().zip(&sums) {
        if *side != Side::Keepalived {
            sum.judge()?;
        }
    }
    Ok(())
}

/// Kills the active of a pair.
fn kill(program: &str, side: Side) -> Result<Aftermath> {
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
            seconds: if pair::is_full() { 60 } else { 10 },
            flushes: true,
        },
    )?;
    let outcome = load.end()?;
    let text = dump.text()?;
    let machine = pair.one;
    machine.clean_up(&pair.lab, "one")?;
    Ok(Aftermath {
        arp: Asked::read(&text, V4),
        nd: Asked::read(&text, V6),
        requests: outcome.requests.len(),
        lost: outcome.requests.iter().filter(|request| !request.1).count(),
    })
}

impl Aftermath {
    fn add(&mut self, other: Self) {
        self.arp.answers.extend(other.arp.answers);
        self.nd.answers.extend(other.nd.answers);
        self.requests += other.requests;
        self.lost += other.lost;
    }

    fn tell(&self, side: Side, kills: usize) {
        for (asked, family) in [(&self.arp, "ARP"), (&self.nd, "ND")] {
            shell::say(&format!(
                "{}, after {kills} kills: {} questions by {family}, {} with exactly one answer, \
                 {} with none, {} with more",
                side.name(),
                asked.answers.len(),
                asked.count(|answers| answers == 1),
                asked.count(|answers| answers == 0),
                asked.count(|answers| answers > 1),
            ));
        }
        shell::say(&format!(
            "{}: {} of {} requests lost meanwhile",
            side.name(),
            self.lost,
            self.requests
        ));
    }

    fn judge(&self) -> Result<()> {
        for asked in [&self.arp, &self.nd] {
            ensure!(asked.answers.len() > 3, "hardly anything was asked");
            ensure!(
                asked.count(|answers| answers > 1) == 0,
                "two nodes answer: {asked:?}"
            );
        }
        ensure!(
            self.lost * 2 < self.requests,
            "the node that took over does not serve"
        );
        Ok(())
    }
}

impl Asked {
    /// Reads what tcpdump wrote: an answer belongs to the last question.
    fn read(text: &str, address: &str) -> Self {
        let mut asked = Self::default();
        for line in text.lines() {
            // Of ARP one line says all; of ND the address stands in the same line as well.
            let asks = line.contains(&format!("who-has {address} tell {CLIENT_V4},"))
                || line.contains("neighbor solicitation")
                    && line.contains(&format!("{CLIENT_V6} > "))
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

/// The client is the third machine of a pair's lab.
const CLIENT_V4: &str = "10.9.0.3";
const CLIENT_V6: &str = "fd09::3";
