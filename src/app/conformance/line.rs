//! The way to the server under test.

use std::cell::RefCell;

use super::{Checked, Remark};
use crate::app::client::http::{HttpClient, HttpError, Response};

/// So many exchanges in a row without an answer, and the server is given up: the suite must end.
const PATIENCE: u32 = 3;

/// One server, asked with one exchange after the other.
#[derive(Debug)]
pub struct Line {
    http: HttpClient,
    silent: u32,
    answered: bool,
    given_up: Option<String>,
    /// The newest answer, in short.
    seen: RefCell<Option<String>>,
}

impl Line {
    /// A line on which each exchange has the time that `http` gives it.
    pub fn new(http: HttpClient) -> Self {
        Self { http, silent: 0, answered: false, given_up: None, seen: RefCell::default() }
    }

    /// Why nothing more is asked, once that is so: the server cannot be reached, or stayed silent several times in a row.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    /// What came last since this was asked before.
    pub(super) fn take_seen(&self) -> Option<String> {
        self.seen.take()
    }

    /// Says of the newest answer what it meant.
    pub(super) fn note_seen(&self, seen: String) {
        self.seen.replace(Some(seen));
    }

    /// Makes one exchange. No answer is a failure of the check that asked.
    pub(super) fn exchange(
        &mut self,
        ask: impl FnOnce(&HttpClient) -> Result<Response, HttpError>,
    ) -> Checked<Response> {
        self.attempt(ask).map_err(|error| Remark::failed(format_args!("no answer: {error}")))
    }

    /// [`Line::exchange`] for questions on which the server may hang up.
    pub(super) fn attempt(
        &mut self,
        ask: impl FnOnce(&HttpClient) -> Result<Response, HttpError>,
    ) -> Result<Response, HttpError> {
        let answer = ask(&self.http);
        if let Ok(response) = &answer {
            let (status, length) = (response.status.as_u16(), response.body.len());
            self.note_seen(format!("HTTP {status}, {}, {length} octets", response.content_type));
        }
        match &answer {
            // Whoever breaks a connection is there.
            Ok(_) | Err(HttpError::Broken { .. }) => {
                self.silent = 0;
                self.answered = true;
            }
            Err(error) => self.count_silence(error),
        }
        answer
    }

    /// A server that never answered is not asked again; one that did gets a few chances.
    fn count_silence(&mut self, error: &HttpError) {
        self.silent += 1;
        if !self.answered || self.silent == PATIENCE {
            self.given_up = Some(error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    fn silence() -> HttpError {
        HttpError::TimeOut { target: "x".to_owned(), limit: Duration::from_secs(1) }
    }

    fn broken() -> HttpError {
        HttpError::Broken { target: "x".to_owned(), reason: "closed".to_owned() }
    }

    #[test]
    fn a_server_that_answered_once_is_given_up_after_three_silences_in_a_row() {
        let mut line = Line::new(HttpClient::new().unwrap());
        let script = [broken(), silence(), silence(), broken(), silence(), silence()];
        let asked = Cell::new(0);
        for error in script {
            assert!(line.attempt(|_| Err(error)).is_err());
            asked.set(asked.get() + 1);
            assert_eq!(line.given_up(), None, "after {}", asked.get());
        }
        assert!(line.exchange(|_| Err(silence())).is_err());
        assert_eq!(line.given_up(), Some("x did not answer within 1 seconds"));
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_at_once() {
        let mut line = Line::new(HttpClient::new().unwrap());
        assert!(line.exchange(|_| Err(silence())).is_err());
        assert!(line.given_up().is_some());
    }
}
