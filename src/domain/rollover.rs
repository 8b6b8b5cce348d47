//! CA rollover (RFC 8894 §4.7, §5.1): the generations of a CA and what may happen to them.
//!
//! ```text
//!              rollover               cut-over
//!   (nothing) ---------> announced ----------------> current ---------> retired
//!                            |                               cut-over to
//!                            +--> withdrawn                    the next
//!                                 while it has issued nothing
//! ```
//!
//! A line has exactly one current generation, and at most one announced one.

use std::fmt;

use super::issuer::{Generation, GenerationState, Issuer, IssuerKind};
use crate::types::{IssuerId, Timestamp};

/// Why a generation does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloverRefused {
    /// It is a root.
    #[error(
        "{0} is a root: its successor has to be in every device's trust store before anything is signed by it, so it is a new \
         gateway's root (certgate init) and not a generation of this one. Roll over the CAs below it"
    )]
    Root(IssuerId),
    /// There is one already.
    #[error("{0} is announced already: cut over to it, or take it back with --cancel")]
    Announced(IssuerId),
    /// There is none to do it to.
    #[error("{0} has no announced successor: certgate issuer rollover {0} makes one")]
    NoneAnnounced(IssuerId),
    /// Certificates of it are out.
    #[error(
        "{issuer} has issued {certificates} certificates to devices: it cannot be taken back, only cut over to"
    )]
    Used {
        /// The announced one.
        issuer: IssuerId,
        /// How many.
        certificates: u64,
    },
    /// Nothing could be issued after that.
    #[error("{issuer} expires at {not_after}: the cut-over has to be before")]
    TooLate {
        /// The one that is current until the cut-over.
        issuer: IssuerId,
        /// When it expires.
        not_after: Timestamp,
    },
    /// A mistyped year would retire a CA at once, for good.
    #[error("{0} is past: leave the time out to cut over now")]
    Past(Timestamp),
    /// A name that profiles and operators cannot use.
    #[error("the name {0} is too long to be numbered")]
    Name(IssuerId),
}

/// The generations of one CA, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    name: IssuerId,
    members: Vec<Issuer>,
}

impl Line {
    /// The line that `named` belongs to, out of all issuers. None: there is no such issuer.
    pub fn of(issuers: Vec<Issuer>, named: &IssuerId) -> Option<Self> {
        let name = issuers.iter().find(|issuer| issuer.id == *named)?.generation.line.clone();
        let mut members: Vec<_> =
            issuers.into_iter().filter(|issuer| issuer.generation.line == name).collect();
        members.sort_by_key(|issuer| issuer.generation.number);
        Some(Self { name, members })
    }

    /// Its name, which is that of its first member.
    pub fn name(&self) -> &IssuerId {
        &self.name
    }

    /// Its members, the first first.
    pub fn members(&self) -> &[Issuer] {
        &self.members
    }

    /// The one that issues to everybody.
    pub fn current(&self) -> Option<&Issuer> {
        self.in_state(GenerationState::Current)
    }

    /// The one that is announced.
    pub fn announced(&self) -> Option<&Issuer> {
        self.in_state(GenerationState::Announced)
    }

    fn in_state(&self, state: GenerationState) -> Option<&Issuer> {
        self.members.iter().find(|issuer| issuer.generation.state == state)
    }

    /// The announced one. Errors: there is none.
    fn expected(&self) -> Result<&Issuer, RolloverRefused> {
        self.announced().ok_or_else(|| RolloverRefused::NoneAnnounced(self.name.clone()))
    }

    /// The name and place of a successor to be announced now, which becomes current at `cutover_at` at the latest.
    /// `not_after`: the end of the current one. `taken`: names that issuers outside the line have.
    ///
    /// Errors: a root; one is announced already; past, or too late.
    pub fn successor(
        &self,
        taken: &[IssuerId],
        cutover_at: Option<Timestamp>,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Result<(IssuerId, Generation), RolloverRefused> {
        let line = self.name.clone();
        if let Some(announced) = self.announced() {
            return Err(RolloverRefused::Announced(announced.id.clone()));
        }
        let kind = self.current().map(|current| current.kind);
        if kind != Some(IssuerKind::Subordinate) {
            return Err(RolloverRefused::Root(line));
        }
        let (id, number) = self.next_name(taken)?;
        let cutover_at = Some(self.in_time(cutover_at, not_after, now)?);
        Ok((id, Generation { line, number, state: GenerationState::Announced, since: now, cutover_at }))
    }

    /// The next number with the name that it gives; a number whose name somebody else has is passed over.
    fn next_name(&self, taken: &[IssuerId]) -> Result<(IssuerId, u32), RolloverRefused> {
        let no_name = || RolloverRefused::Name(self.name.clone());
        let last = self.members.iter().map(|issuer| issuer.generation.number).max().unwrap_or(0);
        for number in last.saturating_add(1)..=u32::MAX {
            let id = format!("{}-{number}", self.name).parse().map_err(|_| no_name())?;
            if !taken.contains(&id) {
                return Ok((id, number));
            }
        }
        Err(no_name())
    }

    /// The announced one with another time of its cut-over. `not_after`: the end of the current one.
    pub fn rescheduled(
        &self,
        at: Timestamp,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Result<Issuer, RolloverRefused> {
        let announced = self.expected()?;
        let cutover_at = Some(self.in_time(Some(at), not_after, now)?);
        Ok(announced.placed(Generation { cutover_at, ..announced.generation.clone() }))
    }

    /// When the current one expires there is nobody else to issue: that is the latest time for a cut-over.
    fn in_time(
        &self,
        at: Option<Timestamp>,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, RolloverRefused> {
        match at {
            Some(at) if at <= now => Err(RolloverRefused::Past(at)),
            Some(at) if at > not_after => {
                let issuer = self.current().map_or(&self.name, |current| &current.id).clone();
                Err(RolloverRefused::TooLate { issuer, not_after })
            }
            at => Ok(at.unwrap_or(not_after)),
        }
    }

    /// What to record at the cut-over: the announced one is current, the one before it is retired.
    pub fn cut_over(&self, now: Timestamp) -> Result<Vec<Issuer>, RolloverRefused> {
        let announced = self.expected()?;
        let retired = self.current().map(|current| current.in_state(GenerationState::Retired, now));
        Ok(retired.into_iter().chain([announced.in_state(GenerationState::Current, now)]).collect())
    }

    /// The announced one, taken back. `certificates`: how many it has issued to devices.
    pub fn withdrawn(&self, certificates: u64, now: Timestamp) -> Result<Issuer, RolloverRefused> {
        let announced = self.expected()?;
        if certificates > 0 {
            return Err(RolloverRefused::Used { issuer: announced.id.clone(), certificates });
        }
        Ok(announced.in_state(GenerationState::Withdrawn, now))
    }
}

impl Issuer {
    fn placed(&self, generation: Generation) -> Self {
        Self { generation, ..self.clone() }
    }

    fn in_state(&self, state: GenerationState, since: Timestamp) -> Self {
        self.placed(Generation { state, since, cutover_at: None, ..self.generation.clone() })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} of {}, {} since {}", self.number, self.line, self.state, self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::crl::CrlPolicy,
        types::{DigestAlgorithm, KeyId},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_767_225_600);
    const END: Timestamp = Timestamp::from_unix(1_867_225_600);
    const AFTER: Timestamp = Timestamp::from_unix(1_867_225_601);

    fn id(name: &str) -> IssuerId {
        name.parse().unwrap()
    }

    fn issuer(name: &str, kind: IssuerKind) -> Issuer {
        Issuer {
            id: id(name),
            kind,
            parent: (kind == IssuerKind::Subordinate).then(|| id("root")),
            certificate: Vec::new(),
            key: KeyId::from_random([1; 16]),
            digest: DigestAlgorithm::Sha256,
            crl_urls: Vec::new(),
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
            crl_policy: CrlPolicy::default(),
            created_at: NOW,
            generation: Generation::first(&id(name), NOW),
            crl_mirror: None,
            partitionings: Vec::new(),
        }
    }

    fn line(issuers: &[Issuer]) -> Line {
        let mut all = vec![issuer("root", IssuerKind::Root)];
        all.extend_from_slice(issuers);
        Line::of(all, &issuers[0].id).unwrap()
    }

    fn announced(before: &[Issuer]) -> Issuer {
        let (id, generation) = line(before).successor(&[], None, END, NOW).unwrap();
        Issuer { id, generation, ..issuer("x", IssuerKind::Subordinate) }
    }

    fn states(line: &Line) -> Vec<(&str, GenerationState)> {
        line.members().iter().map(|issuer| (issuer.id.as_str(), issuer.generation.state)).collect()
    }

    #[test]
    fn a_successor_has_the_next_number_and_takes_over_when_the_current_one_ends() {
        let first = issuer("issuing", IssuerKind::Subordinate);
        let next = announced(std::slice::from_ref(&first));
        assert_eq!((next.id.as_str(), next.generation.number), ("issuing-2", 2));
        assert_eq!(next.generation.line, first.id);
        assert_eq!(next.generation.cutover_at, Some(END));
        let again = line(&[first.clone(), next.clone()]).successor(&[], None, END, NOW);
        assert_eq!(again, Err(RolloverRefused::Announced(next.id.clone())));
        let taken = [next.id, id("issuing-3"), id("other")];
        let (id, generation) = line(&[first]).successor(&taken, None, END, NOW).unwrap();
        assert_eq!((id.as_str(), generation.number), ("issuing-4", 4), "somebody else has these names");
    }

    #[test]
    fn a_root_has_no_successor() {
        let root = Line::of(vec![issuer("root", IssuerKind::Root)], &id("root")).unwrap();
        assert_eq!(root.successor(&[], None, END, NOW), Err(RolloverRefused::Root(id("root"))));
        assert_eq!(Line::of(vec![issuer("root", IssuerKind::Root)], &id("issuing")), None);
    }

    #[test]
    fn a_cut_over_retires_the_one_before_and_needs_an_announced_one() {
        let first = issuer("issuing", IssuerKind::Subordinate);
        let none = line(std::slice::from_ref(&first)).cut_over(NOW);
        assert_eq!(none, Err(RolloverRefused::NoneAnnounced(id("issuing"))));
        let next = announced(std::slice::from_ref(&first));
        let after = line(&line(&[first, next]).cut_over(NOW).unwrap());
        let expected = [("issuing", GenerationState::Retired), ("issuing-2", GenerationState::Current)];
        assert_eq!(states(&after), expected);
        assert!(after.members().iter().all(|issuer| issuer.generation.cutover_at.is_none()));
        // A generation is found by the name of any other.
        let third = announced(after.members());
        assert_eq!(third.id, id("issuing-3"));
        assert_eq!(third.generation.line, id("issuing"));
    }

    #[test]
    fn what_has_issued_is_not_taken_back_and_a_number_is_not_used_twice() {
        let first = issuer("issuing", IssuerKind::Subordinate);
        let both = [first.clone(), announced(std::slice::from_ref(&first))];
        let used = line(&both).withdrawn(3, NOW);
        assert_eq!(used, Err(RolloverRefused::Used { issuer: id("issuing-2"), certificates: 3 }));
        let withdrawn = line(&both).withdrawn(0, NOW).unwrap();
        assert!(!withdrawn.generation.state.issues());
        let rest = [first, withdrawn];
        assert_eq!(line(&rest).cut_over(NOW), Err(RolloverRefused::NoneAnnounced(id("issuing"))));
        assert_eq!(announced(&rest).id, id("issuing-3"));
    }

    #[test]
    fn a_cut_over_in_the_past_or_after_the_end_of_the_current_one_is_refused() {
        let first = issuer("issuing", IssuerKind::Subordinate);
        let too_late = Err(RolloverRefused::TooLate { issuer: id("issuing"), not_after: END });
        assert_eq!(line(std::slice::from_ref(&first)).successor(&[], Some(AFTER), END, NOW), too_late);
        let both = line(&[first.clone(), announced(std::slice::from_ref(&first))]);
        assert!(both.rescheduled(AFTER, END, NOW).is_err());
        assert_eq!(both.rescheduled(END, END, NOW).unwrap().generation.cutover_at, Some(END));
        let past = RolloverRefused::Past(NOW);
        assert_eq!(both.rescheduled(NOW, END, NOW), Err(past.clone()));
        assert_eq!(line(&[first]).successor(&[], Some(NOW), END, NOW), Err(past));
    }
}
