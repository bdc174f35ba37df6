//! What a worker did in a second, as bytes, and back.
//!
//! Values travel one by one while there are few, so that percentiles stay exact; once a sink had more than
//! [`EXACT_VALUES`] of them, the total is made of buckets in any case, and buckets are all that is sent.
//!
//! [`EXACT_VALUES`]: crate::distribution::EXACT_VALUES

use std::time::Duration;

use super::codec::{Malformed, Reader, Writer};
use crate::board::{Answered, Board, Tally};
use crate::distribution::{Distribution, Kept, Parts};
use crate::engine::Report;
use crate::metric::Registry;
use crate::sink::{Gauge, Kind, Sink};

/// Writes a report whose times count from the start of the run.
pub(super) fn write(
    writer: &mut Writer,
    report: &Report,
    is_coarse: impl FnMut(usize, u64) -> bool,
) {
    let busy = u64::try_from(report.busy.as_nanos()).unwrap_or(u64::MAX);
    for number in [
        report.worker,
        report.second,
        report.at,
        u64::from(report.has_lost_tags),
        report.active,
        report.made,
        report.whole,
        report.cut,
        busy,
    ] {
        writer.number(number);
    }
    for counts in [&report.begun, &report.asked] {
        writer.list(counts.iter(), |writer, &count| writer.number(count));
    }
    write_board(writer, &report.board, is_coarse);
}

/// Reads a report of a run with these metrics.
pub(super) fn read(reader: &mut Reader<'_>, registry: &Registry) -> Result<Report, Malformed> {
    let mut numbers = [0; 9];
    for number in &mut numbers {
        *number = reader.number()?;
    }
    let [
        worker,
        second,
        at,
        has_lost_tags,
        active,
        made,
        whole,
        cut,
        busy,
    ] = numbers;
    // Sums of these must not run over, however many reports there are.
    if numbers.iter().any(|&number| number >= 1 << 62) {
        return Err(Malformed);
    }
    Ok(Report {
        worker,
        second,
        at,
        has_lost_tags: has_lost_tags != 0,
        active,
        made,
        whole,
        cut,
        busy: Duration::from_nanos(busy),
        begun: reader.list(count)?,
        asked: reader.list(count)?,
        board: read_board(reader, registry)?,
    })
}

fn write_board(writer: &mut Writer, board: &Board, mut is_coarse: impl FnMut(usize, u64) -> bool) {
    // Most sinks of a second are empty, and left out.
    let filled = board.sinks().iter().enumerate();
    let filled: Vec<_> = filled.filter(|(_, sink)| has_samples(sink)).collect();
    writer.list(filled.into_iter(), |writer, (index, sink)| {
        writer.number(index as u64);
        write_sink(writer, sink, |count| is_coarse(index, count));
    });
    writer.list(board.checks.iter(), |writer, ((group, name), tally)| {
        writer.text(group);
        writer.text(name);
        writer.number(tally.passes);
        writer.number(tally.fails);
        writer.number(tally.order);
    });
    writer.list(board.groups.iter(), |writer, group| writer.text(group));
    writer.list(board.answers.iter(), |writer, (how, &times)| {
        match how {
            Answered::Status(status) => {
                writer.byte(0);
                writer.number(u64::from(*status));
            }
            Answered::Bytes => writer.byte(1),
            Answered::Failure(why) => {
                writer.byte(2);
                writer.text(why);
            }
        }
        writer.number(times);
    });
}

fn has_samples(sink: &Sink) -> bool {
    !sink.is_empty()
}

fn write_sink(writer: &mut Writer, sink: &Sink, is_coarse: impl FnOnce(u64) -> bool) {
    match sink {
        Sink::Counter(sum) => writer.float(*sum),
        Sink::Gauge(gauge) => {
            for value in [gauge.value, gauge.min, gauge.max] {
                writer.float(value);
            }
            writer.number(gauge.at.unwrap_or(0));
        }
        Sink::Rate { passes, total } => {
            writer.number(*passes);
            writer.number(*total);
        }
        Sink::Trend(values) => {
            let parts = values.parts(is_coarse(values.count()));
            for value in [parts.sum, parts.min, parts.max] {
                writer.float(value);
            }
            match parts.values {
                Kept::Exact(values) => {
                    writer.byte(0);
                    writer.list(values.into_iter(), Writer::float);
                }
                Kept::Buckets(counts) => {
                    writer.byte(1);
                    writer.list(counts.into_iter(), |writer, (bucket, count)| {
                        writer.byte(u8::from(bucket < 0));
                        writer.number(bucket.unsigned_abs());
                        writer.number(count);
                    });
                }
            }
        }
    }
}

fn read_board(reader: &mut Reader<'_>, registry: &Registry) -> Result<Board, Malformed> {
    let kinds = registry.sinks();
    let mut sinks: Vec<Sink> = kinds.iter().map(|&kind| Sink::new(kind)).collect();
    reader.list(|reader| {
        let index = usize::try_from(reader.number()?).map_err(|_| Malformed)?;
        let kind = *kinds.get(index).ok_or(Malformed)?;
        sinks[index] = read_sink(reader, kind)?;
        Ok(())
    })?;
    let mut board = Board::of(sinks);
    let checks = reader.list(|reader| {
        let key = (reader.text()?, reader.text()?);
        let tally = Tally {
            passes: count(reader)?,
            fails: count(reader)?,
            order: count(reader)?,
        };
        Ok((key, tally))
    })?;
    board.checks = checks.into_iter().collect();
    board.groups = reader.list(Reader::text)?.into_iter().collect();
    reader.list(|reader| {
        let how = match reader.byte()? {
            0 => {
                let status = u16::try_from(reader.number()?).map_err(|_| Malformed)?;
                Answered::Status(status)
            }
            1 => Answered::Bytes,
            2 => Answered::Failure(reader.text()?),
            _ => return Err(Malformed),
        };
        board.answered(how, count(reader)?);
        Ok(())
    })?;
    Ok(board)
}

fn read_sink(reader: &mut Reader<'_>, kind: Kind) -> Result<Sink, Malformed> {
    Ok(match kind {
        Kind::Counter => Sink::Counter(reader.float()?),
        Kind::Gauge => Sink::Gauge(Gauge {
            value: reader.float()?,
            min: reader.float()?,
            max: reader.float()?,
            at: Some(count(reader)?),
        }),
        Kind::Rate => {
            let (passes, total) = (count(reader)?, count(reader)?);
            if passes > total {
                return Err(Malformed);
            }
            Sink::Rate { passes, total }
        }
        Kind::Trend => {
            let (sum, min, max) = (reader.float()?, reader.float()?, reader.float()?);
            let values = match reader.byte()? {
                0 => Kept::Exact(reader.list(Reader::float)?),
                1 => Kept::Buckets(reader.list(|reader| {
                    let is_negative = reader.byte()? != 0;
                    let bucket = i64::try_from(reader.number()?).map_err(|_| Malformed)?;
                    let bucket = if is_negative { -bucket } else { bucket };
                    Ok((bucket, reader.number()?))
                })?),
                _ => return Err(Malformed),
            };
            let parts = Parts {
                sum,
                min,
                max,
                values,
            };
            Sink::Trend(Distribution::of_parts(parts).ok_or(Malformed)?)
        }
    })
}

/// A number of things that happened; so few that sums do not run over.
fn count(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let count = reader.number()?;
    (count < 1 << 53).then_some(count).ok_or(Malformed)
}
