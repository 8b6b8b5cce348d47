//! Black-box checks of a SCEP server or an OCSP responder, this one or anybody's: what the RFCs ask, section by section, seen from the
//! network alone.
//!
//! | file | what |
//! |---|---|
//! | this one | what a check is, how a suite runs, the report |
//! | [`junit`], [`mod@column`] | the report for build servers, and as a column of a table |
//! | `line` | the way to the server: every exchange is limited in time, and a server that stays silent is given up |
//! | [`scep`] | RFC 8894: discovery, enrolment, authorisation, hostile and unusual messages |
//! | [`ocsp`] | RFC 6960, RFC 9654, RFC 9919: answers, nonces, signatures, times, caching |
//!
//! A check has a stable id made of the RFC, the section and a word. It sends real messages and opens the answers; a check that cannot be made
//! is skipped with the reason, one about what the server does not offer is not applicable, and neither is counted as passed.

pub mod column;
pub mod junit;
mod line;
pub mod ocsp;
pub mod scep;

pub use line::Line;

use std::fmt;

/// The requirement level (RFC 2119): what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The server breaks the standard, or is not safe.
    Must,
    /// The server should have a good reason.
    Should,
    /// An option, or a tolerance that some clients need.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// What a check is, without running it.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Stable: RFC, section and a word, as `8894-3.5.2-media-type`.
    pub id: &'static str,
    /// What a failure means.
    pub level: Level,
    /// What is asked, as a claim about the server.
    pub claim: &'static str,
}

impl About {
    /// `RFC 8894 section 3.5.2`.
    pub fn section(&self) -> String {
        let mut parts = self.id.splitn(3, '-');
        let (rfc, section) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("RFC {rfc} section {section}")
    }

    /// Whether `wanted` is this id or the beginning of it up to a dot or a dash.
    pub fn is_selected_by(&self, wanted: &str) -> bool {
        let rest = self.id.strip_prefix(wanted.trim_end_matches(['-', '.']));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    }
}

/// What is to be told of a check that did not simply pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It passed, but somebody should know this.
    Warning(String),
    /// It failed: what was seen.
    Failed(String),
    /// It could not be made: why.
    Skipped(String),
    /// The server does not offer what it is about, and need not: how that is seen.
    NotApplicable(String),
}

impl Remark {
    /// Passed, with something to know.
    pub fn warning(text: impl fmt::Display) -> Self {
        Self::Warning(text.to_string())
    }

    /// Failed, for what was seen.
    pub fn failed(text: impl fmt::Display) -> Self {
        Self::Failed(text.to_string())
    }

    /// The server does not offer it.
    pub fn not_applicable(text: impl fmt::Display) -> Self {
        Self::NotApplicable(text.to_string())
    }

    /// Not made, for this reason.
    pub fn skipped(text: impl fmt::Display) -> Self {
        Self::Skipped(text.to_string())
    }
}

/// How a check ends: `Ok` is passed.
pub type Checked<T = ()> = Result<T, Remark>;

/// Passes if `holds`; fails with what was seen otherwise.
fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Remark::Failed(seen())) }
}

/// One check of a suite whose state is `S`.
pub struct Check<S> {
    /// What it is.
    pub about: About,
    /// Makes it.
    run: fn(&mut S) -> Checked,
}

impl<S> fmt::Debug for Check<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("about", &self.about).finish_non_exhaustive()
    }
}

impl<S> Clone for Check<S> {
    fn clone(&self) -> Self {
        Self { about: self.about, run: self.run }
    }
}

/// A check, where the list of a suite names it.
const fn check<S>(
    id: &'static str,
    level: Level,
    claim: &'static str,
    run: fn(&mut S) -> Checked,
) -> Check<S> {
    Check { about: About { id, level, claim }, run }
}

/// What a suite stands on.
pub trait Suite: Sized {
    /// All its checks, in the order in which they are made.
    fn checks() -> Vec<Check<Self>>;

    /// The way to the server.
    fn line(&self) -> &Line;
}

/// A check with how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was asked.
    pub about: About,
    /// How it ended.
    pub checked: Checked,
    /// The last answer that it got, in short; none where what was known was enough.
    pub seen: Option<String>,
}

impl Outcome {
    /// `pass`, `warning`, `fail`, `skipped` or `n/a`.
    pub fn verdict(&self) -> &'static str {
        match &self.checked {
            Ok(()) => "pass",
            Err(Remark::Warning(_)) => "warning",
            Err(Remark::Failed(_)) => "fail",
            Err(Remark::Skipped(_)) => "skipped",
            Err(Remark::NotApplicable(_)) => "n/a",
        }
    }

    /// What is to be told of a check that did not simply pass: what was seen, or why it was not looked.
    pub fn remark(&self) -> Option<&str> {
        match &self.checked {
            Ok(()) => None,
            Err(
                Remark::Warning(text)
                | Remark::Failed(text)
                | Remark::Skipped(text)
                | Remark::NotApplicable(text),
            ) => Some(text),
        }
    }
}

/// What became of a whole suite.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the suite.
    pub outcomes: Vec<Outcome>,
    /// Why the server was given up before the end, if it was.
    pub given_up: Option<String>,
}

impl Report {
    /// How many ended with `verdict`.
    pub fn count(&self, verdict: &str) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict() == verdict).count()
    }

    /// How many checks of `level` failed.
    pub fn failed(&self, level: Level) -> usize {
        let failed = |outcome: &&Outcome| outcome.verdict() == "fail" && outcome.about.level == level;
        self.outcomes.iter().filter(failed).count()
    }
}

/// Makes those checks that `only` selects (none: all), telling each as it ends. Ends early where the server stays silent: what is left is skipped.
pub fn run<S: Suite>(suite: &mut S, only: &[String], told: &mut dyn FnMut(&Outcome)) -> Report {
    let mut outcomes = Vec::new();
    for check in selected::<S>(only) {
        suite.line().take_seen();
        let checked = match suite.line().given_up() {
            Some(reason) => Err(Remark::skipped(format_args!("the server was given up: {reason}"))),
            None => (check.run)(suite),
        };
        let outcome = Outcome { about: check.about, checked, seen: suite.line().take_seen() };
        told(&outcome);
        outcomes.push(outcome);
    }
    Report { outcomes, given_up: suite.line().given_up().map(str::to_owned) }
}

/// The checks that `only` selects; all, where it is empty.
pub fn selected<S: Suite>(only: &[String]) -> Vec<Check<S>> {
    let wanted =
        |check: &Check<S>| only.is_empty() || only.iter().any(|wanted| check.about.is_selected_by(wanted));
    S::checks().into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn abouts() -> Vec<About> {
        let scep = scep::ScepSuite::checks().into_iter().map(|check| check.about);
        scep.chain(ocsp::OcspSuite::checks().into_iter().map(|check| check.about)).collect()
    }

    #[test]
    fn ids_are_unique_and_name_an_rfc_and_a_section() {
        let mut seen = BTreeSet::new();
        for about in abouts() {
            assert!(seen.insert(about.id), "{} twice", about.id);
            let mut parts = about.id.splitn(3, '-');
            assert!(parts.next().is_some_and(|rfc| rfc.parse::<u16>().is_ok()), "{}", about.id);
            let section = parts.next().unwrap_or_default();
            let numbered = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(section.split('.').all(numbered), "{}", about.id);
            assert!(parts.next().is_some_and(|word| !word.is_empty()), "{}", about.id);
        }
    }

    #[test]
    fn a_section_selects_what_is_below_it_and_nothing_beside() {
        let about = About { id: "8894-3.5.2-media-type", level: Level::Should, claim: "" };
        for wanted in ["8894-3.5.2-media-type", "8894-3.5.2", "8894-3.5", "8894-3", "8894"] {
            assert!(about.is_selected_by(wanted), "{wanted}");
        }
        for wanted in ["8894-3.5.2-med", "8894-3.5.20", "8894-2", "6960", "88"] {
            assert!(!about.is_selected_by(wanted), "{wanted}");
        }
        assert_eq!(about.section(), "RFC 8894 section 3.5.2");
    }
}
