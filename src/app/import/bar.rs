//! How far a long command is: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

use crate::app::cli::output::note;

/// Characters of the bar.
const WIDTH: u64 = 30;

/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How often a line is said where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A bar on standard error.
pub(super) struct Bar {
    unit: &'static str,
    on_terminal: bool,
    began: Instant,
    shown: Option<Instant>,
}

impl Bar {
    #[expect(clippy::disallowed_methods, reason = "progress is told by the clock on the wall")]
    pub(super) fn new(unit: &'static str) -> Self {
        let on_terminal = io::stderr().is_terminal();
        Self { unit, on_terminal, began: Instant::now(), shown: None }
    }

    /// Shows that `done` of `of` is read, and `count` units are done.
    #[expect(clippy::disallowed_methods, reason = "progress is told by the clock on the wall")]
    pub(super) fn show(&mut self, done: u64, of: u64, count: u64) {
        let period = if self.on_terminal { DRAW_EVERY } else { SAY_EVERY };
        let last = self.shown.unwrap_or(self.began);
        let is_end = self.on_terminal && done >= of;
        if !is_end && last.elapsed() < period {
            return;
        }
        self.shown = Some(Instant::now());
        let text = text(done, of, count, self.unit, self.began.elapsed());
        if self.on_terminal {
            let _ = write!(io::stderr().lock(), "\r{text}\x1b[K");
        } else {
            note(&text);
        }
    }

    /// Leaves the line.
    pub(super) fn end(&self) {
        if self.on_terminal && self.shown.is_some() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}

fn text(done: u64, of: u64, count: u64, unit: &str, took: Duration) -> String {
    let share = |of_all: u64| done.min(of).saturating_mul(of_all).checked_div(of).unwrap_or(of_all);
    let full = share(WIDTH);
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    let rate = u128::from(count).saturating_mul(1000).checked_div(took.as_millis()).unwrap_or(0);
    let plural = if unit == "entry" { "entries".to_owned() } else { format!("{unit}s") };
    format!("[{bar}] {:>3} %  {count} {plural}, {rate} a second", share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_what_is_done() {
        let half = text(50, 100, 12_000, "line", Duration::from_secs(2));
        assert_eq!(half, "[###############...............]  50 %  12000 lines, 6000 a second");
        let all = text(7, 7, 7, "entry", Duration::from_secs(1));
        assert_eq!(all, format!("[{}] 100 %  7 entries, 7 a second", "#".repeat(30)));
        // An empty source is done at once.
        assert!(text(0, 0, 0, "file", Duration::ZERO).contains("100 %  0 files, 0 a second"));
    }
}
