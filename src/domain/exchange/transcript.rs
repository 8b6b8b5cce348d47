//! What went over the wire, in readable form: structure and names, never what is encrypted, never a challenge.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::clipped;

/// Lines that are kept of each half.
const MAX_LINES: usize = 48;
/// Characters that are kept of a value.
const MAX_VALUE: usize = 400;
/// Characters that are kept of a value, and bytes of a whole request and of a whole answer, where they are a stranger's.
const MAX_BRIEF_VALUE: usize = 120;
const MAX_BRIEF_REQUEST: usize = 2000;
const MAX_BRIEF_ANSWER: usize = 500;

/// A request and its answer as they were on the wire, without secrets and without ciphertext.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// What was asked, from the outside to the inside.
    pub request: Vec<Line>,
    /// What was answered.
    pub answer: Vec<Line>,
}

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its name, in the standard's words.
    pub field: Cow<'static, str>,
    /// Its value, readable and bounded.
    pub value: String,
}

impl Line {
    /// A field with its value, as far as that is kept.
    pub fn new(field: &'static str, value: impl Into<String>) -> Self {
        Self { field: field.into(), value: clipped(value, MAX_VALUE) }
    }
}

impl Transcript {
    /// Adds a field of the request.
    pub fn asked(&mut self, field: &'static str, value: impl Into<String>) {
        add(&mut self.request, field, value);
    }

    /// What is kept of a stranger's: no more than an honest request has, for anybody can send as much as he likes.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { request: brief(self.request, MAX_BRIEF_REQUEST), answer: brief(self.answer, MAX_BRIEF_ANSWER) }
    }

    /// Adds a field of the answer.
    pub fn answered(&mut self, field: &'static str, value: impl Into<String>) {
        add(&mut self.answer, field, value);
    }
}

fn add(lines: &mut Vec<Line>, field: &'static str, value: impl Into<String>) {
    if lines.len() < MAX_LINES {
        lines.push(Line::new(field, value));
    }
}

/// The first of `lines` that have at most `bytes`.
fn brief(lines: Vec<Line>, bytes: usize) -> Vec<Line> {
    let mut left = bytes;
    let lines = lines.into_iter().map(|line| Line { value: clipped(line.value, MAX_BRIEF_VALUE), ..line });
    let fits = |line: &Line| {
        let size = line.field.len() + line.value.len();
        left.checked_sub(size).map(|rest| left = rest).is_some()
    };
    lines.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_stranger_has_a_bound_in_bytes() {
        let mut transcript = Transcript::default();
        for _ in 0..1000 {
            transcript.asked("field", "\u{1f47e}".repeat(10_000));
            transcript.answered("field", "x");
        }
        let brief = transcript.brief();
        let size = |lines: &[Line]| lines.iter().map(|it| it.field.len() + it.value.len()).sum::<usize>();
        assert!((1000..=2000).contains(&size(&brief.request)), "{}", size(&brief.request));
        assert_eq!((brief.answer.len(), size(&brief.answer)), (MAX_LINES, MAX_LINES * 6));
        assert_eq!(brief.clone().brief(), brief);
    }

    #[test]
    fn a_transcript_is_bounded() {
        let mut transcript = Transcript::default();
        for _ in 0..1000 {
            transcript.asked("header", "x".repeat(10_000));
        }
        let size: usize = transcript.request.iter().map(|line| line.field.len() + line.value.len()).sum();
        assert!(size < 48 * 410 + 48 * 6, "{size}");
    }
}
