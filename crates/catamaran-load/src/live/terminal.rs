//! A block at the bottom of a terminal that is drawn anew, and lines that go above it.
//!
//! Scripts print from any thread, so the number of lines on the screen is one for the process.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Lines of the block that are on the screen.
static DRAWN: Mutex<usize> = Mutex::new(0);

/// Draws the block, over the one before.
pub(crate) fn draw(out: &mut dyn Write, lines: &[String]) -> io::Result<()> {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = clear(*drawn);
    for line in lines {
        // A line that wraps would be two.
        text.extend(line.chars().take(WIDTH));
        text.push('\n');
    }
    *drawn = lines.len();
    out.write_all(text.as_bytes())
}

/// Prints a line in place of the block, which comes again below it when it is drawn next.
pub(crate) fn line(out: &mut dyn Write, line: &str) -> io::Result<()> {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = format!("{}{line}\n", clear(*drawn));
    *drawn = 0;
    out.write_all(text.as_bytes())
}

/// Leaves what is drawn where it is.
pub(crate) fn leave() {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = 0;
}

/// What takes `lines` lines above the cursor off the screen.
fn clear(lines: usize) -> String {
    if lines == 0 {
        return String::new();
    }
    format!("\r\x1b[{lines}A\x1b[J")
}

/// Columns that every terminal has.
const WIDTH: usize = 79;
