//! What to ask first, what to send next, when to poll (RFC 8894 §2.2, §4.4) and when to give up.

use std::time::Duration;

use super::{AnswerError, CaCertificates, Capabilities, Operation, Reply};
use crate::wire::scep::MessageType;

/// What was learnt of a server before the first PKIOperation.
#[derive(Clone, Debug)]
pub struct Authority {
    /// GetCACaps.
    pub capabilities: Capabilities,
    /// GetCACert.
    pub ca: CaCertificates,
}

/// Getting to know a server: GetCACaps and GetCACert, in either order.
#[derive(Clone, Debug)]
pub struct Discovery {
    order: [Operation; 2],
    capabilities: Option<Capabilities>,
    ca: Option<CaCertificates>,
}

impl Discovery {
    /// Nothing known yet. `certificates_first`: GetCACert comes before GetCACaps, as Apple does it.
    pub const fn new(certificates_first: bool) -> Self {
        let order = if certificates_first {
            [Operation::GetCaCert, Operation::GetCaCaps]
        } else {
            [Operation::GetCaCaps, Operation::GetCaCert]
        };
        Self { order, capabilities: None, ca: None }
    }

    /// What to fetch next, by GET; `None`: all is known.
    pub fn next(&self) -> Option<Operation> {
        self.order.into_iter().find(|operation| match operation {
            Operation::GetCaCaps => self.capabilities.is_none(),
            _ => self.ca.is_none(),
        })
    }

    /// The body that GetCACaps came with; `None`: the server does not know the operation, and can the least (RFC 8894 §3.5.2).
    pub fn has_capabilities(&mut self, body: Option<&[u8]>) {
        let text = body.map(String::from_utf8_lossy).unwrap_or_default();
        self.capabilities = Some(Capabilities::from_text(&text));
    }

    /// The body that GetCACert came with.
    pub fn has_certificates(&mut self, body: &[u8]) -> Result<(), AnswerError> {
        self.ca = Some(CaCertificates::read(body)?);
        Ok(())
    }

    /// What was learnt, once [`Discovery::next`] is `None`.
    pub fn finish(self) -> Option<Authority> {
        Some(Authority { capabilities: self.capabilities?, ca: self.ca? })
    }
}

/// How a request that waits for an operator is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two polls.
    pub interval: Duration,
    /// In all; nothing: no poll at all.
    pub patience: Duration,
}

/// What an enrolment does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a message of this type, and tell [`Enrolment::answered`] what it came to.
    Send(MessageType),
    /// Stay away this long, then tell [`Enrolment::rested`].
    Rest(Duration),
    /// It is decided, or patience ended: the last reply stands.
    Over,
}

/// One enrolment or renewal, from its first message to a decision.
#[derive(Clone, Debug)]
pub struct Enrolment {
    step: Step,
    pace: Pace,
}

impl Enrolment {
    /// Begins with a message of this type: PKCSReq, RenewalReq, or CertPoll to go on with one that waits.
    pub const fn new(first: MessageType, pace: Pace) -> Self {
        Self { step: Step::Send(first), pace }
    }

    /// What to do now.
    pub const fn next(&self) -> Step {
        self.step
    }

    /// What the message came to.
    pub fn answered(&mut self, reply: &Reply) {
        self.step = match reply {
            Reply::Granted(_) | Reply::Refused { .. } => Step::Over,
            Reply::Pending => {
                let pause = self.pace.interval.min(self.pace.patience);
                if pause.is_zero() { Step::Over } else { Step::Rest(pause) }
            }
        };
    }

    /// The pause is over.
    pub fn rested(&mut self) {
        if let Step::Rest(pause) = self.step {
            self.pace.patience = self.pace.patience.saturating_sub(pause);
            self.step = Step::Send(MessageType::CertPoll);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scep::{Degenerate, FailInfo};

    const SECOND: Duration = Duration::from_secs(1);

    fn enrolment(patience: u32) -> Enrolment {
        Enrolment::new(MessageType::PkcsReq, Pace { interval: 10 * SECOND, patience: patience * SECOND })
    }

    #[test]
    fn apple_asks_for_the_certificates_first() {
        for (first, order) in [
            (true, [Operation::GetCaCert, Operation::GetCaCaps]),
            (false, [Operation::GetCaCaps, Operation::GetCaCert]),
        ] {
            assert_eq!(Discovery::new(first).next(), Some(order[0]));
        }
        let mut discovery = Discovery::new(false);
        discovery.has_capabilities(None);
        assert_eq!(discovery.next(), Some(Operation::GetCaCert));
        assert!(matches!(discovery.has_certificates(b"<html>"), Err(AnswerError::Unreadable(_))));
        assert!(discovery.finish().is_none());
    }

    #[test]
    fn what_waits_is_polled_until_patience_ends() {
        let mut enrolment = enrolment(25);
        let mut steps = Vec::new();
        while enrolment.next() != Step::Over {
            steps.push(enrolment.next());
            match enrolment.next() {
                Step::Send(_) => enrolment.answered(&Reply::Pending),
                _ => enrolment.rested(),
            }
        }
        let poll = Step::Send(MessageType::CertPoll);
        let long = Step::Rest(10 * SECOND);
        assert_eq!(
            steps,
            [Step::Send(MessageType::PkcsReq), long, poll, long, poll, Step::Rest(5 * SECOND), poll]
        );
    }

    #[test]
    fn a_decision_ends_it() {
        for decision in
            [Reply::Granted(Degenerate::default()), Reply::Refused { info: FailInfo::BadRequest, text: None }]
        {
            let mut enrolment = enrolment(25);
            enrolment.answered(&decision);
            assert_eq!(enrolment.next(), Step::Over);
        }
        let mut enrolment = enrolment(0);
        enrolment.answered(&Reply::Pending);
        assert_eq!(enrolment.next(), Step::Over, "without patience nothing is polled");
    }
}
