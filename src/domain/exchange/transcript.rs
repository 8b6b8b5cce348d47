//! What went over the wire, in readable form: structure and names, never what is encrypted, never a challenge.

use serde::{Deserialize, Serialize};

use super::clipped;

/// Lines that are kept of each half.
const MAX_LINES: usize = 48;
/// Characters that are kept of a value.
const MAX_VALUE: usize = 400;

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
    pub field: String,
    /// Its value, readable and bounded.
    pub value: String,
}

impl Line {
    /// A field with its value, as far as that is kept.
    pub fn new(field: &str, value: &str) -> Self {
        Self { field: field.to_owned(), value: clipped(value, MAX_VALUE) }
    }
}

impl Transcript {
    /// Adds a field of the request.
    pub fn asked(&mut self, field: &str, value: &str) {
        add(&mut self.request, field, value);
    }

    /// Adds a field of the answer.
    pub fn answered(&mut self, field: &str, value: &str) {
        add(&mut self.answer, field, value);
    }
}

fn add(lines: &mut Vec<Line>, field: &str, value: &str) {
    if lines.len() < MAX_LINES {
        lines.push(Line::new(field, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_bounded() {
        let mut transcript = Transcript::default();
        for _ in 0..1000 {
            transcript.asked("header", &"x".repeat(10_000));
        }
        let size: usize = transcript.request.iter().map(|line| line.field.len() + line.value.len()).sum();
        assert!(size < 48 * 410 + 48 * 6, "{size}");
    }
}
