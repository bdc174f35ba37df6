//! Reading one body, whatever its framing.

use crate::chunked::{ChunkError, Decoder, Step, Trailers};
use crate::{BodyFraming, ResponseFraming};

/// The connection ended before the body did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body cut before its end")]
pub struct Truncated;

/// Finds the data and the end of one body after the other.
#[derive(Debug, Default)]
pub struct BodyReader {
    progress: Progress,
    decoder: Decoder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Finished,
    /// Bytes still to come, never 0.
    Length(u64),
    Chunked,
    UntilClose,
}

impl BodyReader {
    /// Returns a reader that has nothing to read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the body of a request.
    pub fn begin_request(&mut self, framing: BodyFraming) {
        self.begin(framing.into());
    }

    /// Begins the body of a response.
    pub fn begin(&mut self, framing: ResponseFraming) {
        self.progress = match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => Progress::Finished,
            ResponseFraming::Length(length) => Progress::Length(length),
            ResponseFraming::Chunked => {
                self.decoder.reset();
                Progress::Chunked
            }
            ResponseFraming::UntilClose => {
                // Such a body may leave in chunks: trailers of an earlier one must not follow it.
                self.decoder.reset();
                Progress::UntilClose
            }
        };
    }

    /// Reads on, up to the end of one run of data, of the body or of the input.
    ///
    /// Call it again with what follows `consumed` until nothing is left or the body is finished.
    pub fn advance(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let len = match self.progress {
            Progress::Finished => 0,
            Progress::UntilClose => input.len(),
            Progress::Length(remaining) => {
                let len = usize::try_from(remaining).map_or(input.len(), |n| n.min(input.len()));
                self.take_length(remaining, len as u64);
                len
            }
            Progress::Chunked => {
                let step = self.decoder.decode(input)?;
                if step.finished {
                    self.progress = Progress::Finished;
                }
                return Ok(step);
            }
        };
        Ok(Step {
            data: 0..len,
            consumed: len,
            finished: self.is_finished(),
        })
    }

    /// Bytes of plain data that may be moved without being looked at: the rest of a body with a
    /// length, the rest of a chunk, `u64::MAX` until close, 0 when the next byte is framing or none.
    #[must_use]
    pub fn remaining_length(&self) -> u64 {
        match self.progress {
            Progress::Finished => 0,
            Progress::Length(remaining) => remaining,
            Progress::Chunked => self.decoder.remaining_in_chunk(),
            Progress::UntilClose => u64::MAX,
        }
    }

    /// Notes that `len` bytes of data were moved without being shown to [`Self::advance`].
    ///
    /// # Panics
    /// When `len` exceeds [`Self::remaining_length`].
    pub fn skip(&mut self, len: u64) {
        assert!(len <= self.remaining_length(), "skipped beyond the data");
        match self.progress {
            Progress::Length(remaining) => self.take_length(remaining, len),
            Progress::Chunked => self.decoder.skip_data(len),
            Progress::Finished | Progress::UntilClose => {}
        }
    }

    /// Notes that the connection ended. Only a body that is whole, or that the end of the connection
    /// ends, may be taken for complete.
    pub fn on_eof(&mut self) -> Result<(), Truncated> {
        match self.progress {
            Progress::Finished => Ok(()),
            Progress::UntilClose => {
                self.progress = Progress::Finished;
                Ok(())
            }
            //= https://www.rfc-editor.org/rfc/rfc9112#section-8
            //# A message body that uses the chunked transfer coding is incomplete if
            //# the zero-sized chunk that terminates the encoding has not been
            //# received.  A message that uses a valid Content-Length is incomplete
            //# if the size of the message body received (in octets) is less than the
            //# value given by Content-Length.
            Progress::Length(_) | Progress::Chunked => Err(Truncated),
        }
    }

    /// Whether the body is whole.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress == Progress::Finished
    }

    /// The trailers of a chunked body, complete once it is finished; none of one that ends with its
    /// connection.
    #[must_use]
    pub fn trailers(&self) -> &Trailers {
        self.decoder.trailers()
    }

    fn take_length(&mut self, remaining: u64, len: u64) {
        self.progress = match remaining - len {
            0 => Progress::Finished,
            rest => Progress::Length(rest),
        };
    }
}
