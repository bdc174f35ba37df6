//! What is run, and which figures with which goals are made of it.

use super::tool::Tool;

/// What a generator does in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A script with one request.
    Get,
    /// A request and two checks.
    Check,
    /// As above, with a second of sleep: what many virtual users cost who do little.
    Idle,
    /// As above, with lodash imported.
    Library,
    /// One iteration each of an empty script: what it takes to begin.
    Empty,
    /// No script: requests as fast as they go.
    Plain,
    /// No script: requests at a rate.
    Rate,
}

/// One that is run, beside the others of its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) tool: Tool,
    pub(super) work: Work,
    pub(super) vus: u32,
    /// Words for this run alone.
    pub(super) more: &'static [&'static str],
}

/// Runs that are interleaved, and the figures made of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) contenders: &'static [Contender],
    pub(super) rows: &'static [Row],
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) figure: Figure,
    /// The contender that is ours.
    pub(super) ours: &'static str,
    /// Whom it is compared with.
    pub(super) peer: Option<&'static str>,
    pub(super) goal: Goal,
}

/// What is told of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// CPU microseconds for each request.
    CpuPerRequest,
    /// The most resident memory, in MB.
    Peak,
    /// Kilobytes that each virtual user adds to what a run of one takes, which is the contender of the
    /// same name that ends in ` 1`.
    PerVu,
    /// Seconds of CPU time beyond those of the run of one: what a core needs that has nothing else to do.
    Start,
    /// How far the number of requests is from what the rate asks for, in percent.
    Accuracy,
    /// Megabytes that memory grew from the tenth part of the run on.
    Growth,
}

impl Figure {
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "µs/request",
            Self::Peak | Self::Growth => "MB",
            Self::PerVu => "kB/VU",
            Self::Start => "s",
            Self::Accuracy => "%",
        }
    }

    /// Whether a run of one is subtracted.
    pub(super) const fn has_base(self) -> bool {
        matches!(self, Self::PerVu | Self::Start)
    }
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// Theirs is at least so many times ours.
    Less(f64),
    /// Ours is at most so many times theirs.
    Ratio(f64),
    /// Ours is at most this.
    Most(f64),
    /// Nothing is asked; it is shown.
    None,
}

const fn contender(name: &'static str, tool: Tool, work: Work, vus: u32) -> Contender {
    Contender {
        name,
        tool,
        work,
        vus,
        more: &[],
    }
}

/// Ours, with an engine for each virtual user; without that word they share one, as their scripts allow it.
const fn strict(name: &'static str, work: Work, vus: u32) -> Contender {
    Contender {
        more: &["--vu-isolation", "strict"],
        ..contender(name, Catamaran, work, vus)
    }
}

const fn row(
    title: &'static str,
    figure: Figure,
    ours: &'static str,
    peer: Option<&'static str>,
    goal: Goal,
) -> Row {
    Row {
        title,
        figure,
        ours,
        peer,
        goal,
    }
}

use Figure::{Accuracy, CpuPerRequest, Growth, Peak, PerVu, Start};
use Tool::{Catamaran, K6, Oha, Wrk, Wrk2};

/// All groups but that of the long run.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "fifty",
        contenders: &[
            contender("get", Catamaran, Work::Get, 50),
            contender("k6 get", K6, Work::Get, 50),
            contender("wrk", Wrk, Work::Plain, 50),
            contender("check", Catamaran, Work::Check, 50),
            contender("k6 check", K6, Work::Check, 50),
            contender("plain", Catamaran, Work::Plain, 50),
            contender("wrk2", Wrk2, Work::Plain, 50),
            contender("oha", Oha, Work::Plain, 50),
        ],
        rows: &[
            row(
                "script, get, 50 VUs",
                CpuPerRequest,
                "get",
                Some("k6 get"),
                Goal::Less(4.5),
            ),
            row(
                "script, get and 2 checks, 50 VUs",
                CpuPerRequest,
                "check",
                Some("k6 check"),
                Goal::Less(5.0),
            ),
            row(
                "script, get, 50 VUs",
                CpuPerRequest,
                "get",
                Some("wrk"),
                Goal::Ratio(1.6),
            ),
            row(
                "no script, 50 connections",
                CpuPerRequest,
                "plain",
                Some("wrk"),
                Goal::Ratio(1.15),
            ),
            row(
                "no script, 50 connections",
                CpuPerRequest,
                "plain",
                Some("wrk2"),
                Goal::None,
            ),
            row(
                "no script, 50 connections",
                CpuPerRequest,
                "plain",
                Some("oha"),
                Goal::Ratio(0.9),
            ),
            row(
                "memory, get and 2 checks, 50 VUs",
                Peak,
                "check",
                Some("k6 check"),
                Goal::Most(30.0),
            ),
            row(
                "memory, no script, 50 connections",
                Peak,
                "plain",
                Some("oha"),
                Goal::None,
            ),
        ],
    },
    Group {
        name: "thousand",
        contenders: &[
            contender("shared", Catamaran, Work::Check, 1000),
            contender("k6 check", K6, Work::Check, 1000),
            strict("strict", Work::Check, 1000),
        ],
        rows: &[
            row(
                "script, get and 2 checks, 1,000 VUs, shared engine",
                CpuPerRequest,
                "shared",
                Some("k6 check"),
                Goal::Less(6.0),
            ),
            row(
                "the same, an engine each",
                CpuPerRequest,
                "strict",
                Some("k6 check"),
                Goal::Less(4.0),
            ),
        ],
    },
    Group {
        name: "memory",
        contenders: &[
            contender("shared 1", Catamaran, Work::Idle, 1),
            contender("shared", Catamaran, Work::Idle, 1000),
            contender("k6 idle 1", K6, Work::Idle, 1),
            contender("k6 idle", K6, Work::Idle, 1000),
            strict("strict 1", Work::Idle, 1),
            strict("strict", Work::Idle, 1000),
        ],
        rows: &[
            row(
                "memory, get, 2 checks and sleep(1), 1,000 VUs, shared engine",
                PerVu,
                "shared",
                Some("k6 idle"),
                Goal::Most(25.0),
            ),
            row(
                "the same, an engine each",
                PerVu,
                "strict",
                Some("k6 idle"),
                Goal::Most(135.0),
            ),
        ],
    },
    Group {
        name: "library",
        contenders: &[
            contender("library 1", Catamaran, Work::Library, 1),
            contender("library", Catamaran, Work::Library, 200),
            contender("k6 library 1", K6, Work::Library, 1),
            contender("k6 library", K6, Work::Library, 200),
        ],
        rows: &[row(
            "memory, the same with lodash (544 kB), 200 VUs",
            PerVu,
            "library",
            Some("k6 library"),
            Goal::Most(900.0),
        )],
    },
    Group {
        name: "start",
        contenders: &[
            contender("shared 1", Catamaran, Work::Empty, 1),
            contender("shared", Catamaran, Work::Empty, 1000),
            contender("k6 empty 1", K6, Work::Empty, 1),
            contender("k6 empty", K6, Work::Empty, 1000),
            strict("strict 1", Work::Empty, 1),
            strict("strict", Work::Empty, 1000),
        ],
        rows: &[
            row(
                "start of 1,000 VUs, shared engine, CPU time",
                Start,
                "shared",
                Some("k6 empty"),
                Goal::Most(0.5),
            ),
            row(
                "the same, an engine each",
                Start,
                "strict",
                Some("k6 empty"),
                Goal::Most(0.5),
            ),
        ],
    },
    Group {
        name: "rate",
        contenders: &[contender("rate", Catamaran, Work::Rate, 0)],
        rows: &[row(
            "requests at 50,000/s, off by",
            Accuracy,
            "rate",
            None,
            Goal::Most(0.1),
        )],
    },
];

/// The long run.
pub(super) const GROWTH: Group = Group {
    name: "growth",
    contenders: &[contender("check", Catamaran, Work::Check, 50)],
    rows: &[row(
        "memory, growth over a long run at full rate",
        Growth,
        "check",
        None,
        Goal::Most(5.0),
    )],
};

/// Requests per second of [`Work::Rate`].
pub(super) const RATE: u32 = 50_000;

/// The scripts by the work that they do.
pub(super) const fn script(work: Work) -> Option<(&'static str, &'static str)> {
    match work {
        Work::Get => Some(("get.js", GET)),
        Work::Check => Some(("check.js", CHECK)),
        Work::Idle => Some(("idle.js", IDLE)),
        Work::Library => Some(("library.js", LIBRARY)),
        Work::Empty => Some(("empty.js", EMPTY)),
        Work::Plain | Work::Rate => None,
    }
}

const GET: &str = "\
import http from 'k6/http';
export default function () { http.get(__ENV.URL); }
";
const CHECK: &str = "\
import http from 'k6/http';
import { check } from 'k6';
export default function () {
  const res = http.get(__ENV.URL);
  check(res, { ok: (r) => r.status === 200, body: (r) => r.body.length === 128 });
}
";
const IDLE: &str = "\
import http from 'k6/http';
import { check, sleep } from 'k6';
export default function () {
  const res = http.get(__ENV.URL);
  check(res, { ok: (r) => r.status === 200, body: (r) => r.body.length === 128 });
  sleep(1);
}
";
const LIBRARY: &str = "\
import http from 'k6/http';
import { check, sleep } from 'k6';
import _ from './lodash.js';
export default function () {
  const res = http.get(__ENV.URL);
  check(res, { ok: (r) => _.isEqual(r.status, 200), body: (r) => _.size(r.body) === 128 });
  sleep(1);
}
";
const EMPTY: &str = "\
import http from 'k6/http';
import { check } from 'k6';
export default function () {}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_contenders_of_its_group_that_are_whose_it_says() {
        for group in GROUPS.iter().chain([&GROWTH]) {
            let of = |name: &str| {
                let found = group.contenders.iter().find(|one| one.name == name);
                found.unwrap_or_else(|| panic!("{}: {name}", group.name))
            };
            for row in group.rows {
                assert_eq!(of(row.ours).tool, Catamaran);
                for name in [Some(row.ours), row.peer].into_iter().flatten() {
                    if row.figure.has_base() {
                        assert_eq!(of(&format!("{name} 1")).vus, 1);
                    }
                    assert!(name == row.ours || of(name).tool != Catamaran);
                }
            }
        }
    }
}
