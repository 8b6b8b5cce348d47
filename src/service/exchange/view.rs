//! What operators see of exchanges: `certgate enrolment list|show`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{Authed, Read},
        enrol::{Enrolment, EnrolmentState},
        exchange::{Ending, EndingError, Exchange, Operation, Transcript},
    },
    ports::{View, store::Page},
    service::{Gateway, Listing, ServiceError, queue::EnrolmentView},
    types::{DeviceId, EnrolmentId, ProfileName, Timestamp, TransactionId},
    wire::scep::FailInfo,
};

/// Exchanges of one transactionID that are shown together.
const MAX_OF_TRANSACTION: usize = 20;

/// Which endings are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingFilter {
    /// All but SUCCESS and PENDING.
    Refused,
    /// This one.
    Exactly(Ending),
}

impl FromStr for EndingFilter {
    type Err = EndingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "refused" { Ok(Self::Refused) } else { text.parse().map(Self::Exactly) }
    }
}

/// Which exchanges are asked for; everything that is named must hold.
#[derive(Clone, Debug, Default)]
pub struct ExchangeFilter {
    /// For this device.
    pub device: Option<DeviceId>,
    /// Under this profile.
    pub profile: Option<ProfileName>,
    /// From this address. Fetches of capabilities and CA certificates are shown too, as far as they are remembered.
    pub address: Option<String>,
    /// Ended so.
    pub result: Option<EndingFilter>,
    /// Came at this time or later.
    pub since: Option<Timestamp>,
    /// With this transactionID.
    pub transaction: Option<TransactionId>,
}

impl ExchangeFilter {
    fn takes(&self, exchange: &Exchange) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted == found
        }
        is(self.device.as_ref(), exchange.device.as_ref())
            && is(self.profile.as_ref(), exchange.profile.as_ref())
            && is(self.address.as_ref(), Some(&exchange.address))
            && is(self.transaction.as_ref(), exchange.transaction.as_ref())
            && self.since.is_none_or(|since| exchange.at >= since)
            && match self.result {
                None => true,
                Some(EndingFilter::Refused) => !exchange.ending.is_good(),
                Some(EndingFilter::Exactly(ending)) => exchange.ending == ending,
            }
    }

    /// Ids sort by arrival: nothing from here on came late enough.
    fn is_past(&self, exchange: &Exchange) -> bool {
        self.since.is_some_and(|since| exchange.id < EnrolmentId::first_of(since))
    }
}

/// All that is known of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// The exchange.
    #[serde(flatten)]
    pub exchange: Exchange,
    /// What went over the wire, while it is kept.
    pub transcript: Option<Transcript>,
    /// The enrolment that it led to, or that it was about.
    pub enrolment: Option<EnrolmentView>,
}

impl Gateway {
    /// Exchanges, the newest first; `after` is the id of the last one seen.
    pub fn exchanges(
        &self,
        _authed: &Authed<Read>,
        filter: &ExchangeFilter,
        page: &Page<EnrolmentId>,
    ) -> Result<Listing<Exchange>, ServiceError> {
        self.write_traces()?;
        let mut found = self.ports.store.read(|view| visited(view, filter, page))?;
        if filter.address.is_some() {
            let before = |fetch: &Exchange| page.after.as_ref().is_none_or(|after| fetch.id < *after);
            found.extend(self.traces.fetches().into_iter().filter(|it| before(it) && filter.takes(it)));
            found.sort_by(|a, b| b.id.cmp(&a.id));
            found.truncate(page.limit);
        }
        Ok(Listing::page(found, page.limit, |exchange| exchange.id.to_string()))
    }

    /// What is known under an enrolment's id, or under a transactionID (the newest first).
    pub fn traces(&self, authed: &Authed<Read>, name: &str) -> Result<Vec<TraceView>, ServiceError> {
        self.write_traces()?;
        let exchanges = self.ports.store.read(|view| named(view, name))?;
        if exchanges.is_empty() {
            return Err(ServiceError::not_found("enrolment", name));
        }
        exchanges.into_iter().map(|exchange| self.trace_view(authed, exchange)).collect()
    }

    fn trace_view(&self, authed: &Authed<Read>, exchange: Exchange) -> Result<TraceView, ServiceError> {
        let about = exchange.polls.as_ref().unwrap_or(&exchange.id);
        let enrolment = match self.enrolment_view(authed, about) {
            Ok(enrolment) => Some(enrolment),
            Err(ServiceError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let transcript =
            self.ports.store.read(|view| Ok::<_, ServiceError>(view.transcript(&exchange.id)?))?;
        Ok(TraceView { exchange, transcript, enrolment })
    }
}

fn visited(
    view: &dyn View,
    filter: &ExchangeFilter,
    page: &Page<EnrolmentId>,
) -> Result<Vec<Exchange>, ServiceError> {
    let mut found = Vec::new();
    view.visit_exchanges(page.after.as_ref(), &mut |exchange| {
        if filter.is_past(&exchange) {
            return Ok(false);
        }
        if filter.takes(&exchange) {
            found.push(exchange);
        }
        Ok(found.len() < page.limit)
    })?;
    Ok(found)
}

fn named(view: &dyn View, name: &str) -> Result<Vec<Exchange>, ServiceError> {
    if let Ok(id) = name.parse::<EnrolmentId>() {
        if let Some(exchange) = view.exchange(&id)? {
            return Ok(vec![exchange]);
        }
        if let Some(enrolment) = view.enrolment(&id)? {
            return Ok(vec![without_trace(&enrolment)]);
        }
    }
    let Ok(transaction) = name.parse() else { return Ok(Vec::new()) };
    let filter = ExchangeFilter { transaction: Some(transaction), ..ExchangeFilter::default() };
    visited(view, &filter, &Page::first(MAX_OF_TRANSACTION))
}

/// What an enrolment itself tells when its trace is gone, or none was kept.
fn without_trace(enrolment: &Enrolment) -> Exchange {
    let (ending, reason, certificate) = match &enrolment.state {
        EnrolmentState::Pending => (Ending::Pending, String::new(), None),
        EnrolmentState::Issued { certificate } => (Ending::Success, String::new(), Some(certificate.clone())),
        EnrolmentState::Refused { info, reason } => (Ending::Refused(*info), reason.clone(), None),
        EnrolmentState::Rejected { reason } => (Ending::Refused(FailInfo::BadRequest), reason.clone(), None),
    };
    let operation = if enrolment.renews.is_some() { Operation::RenewalReq } else { Operation::PkcsReq };
    Exchange {
        profile: Some(enrolment.profile.clone()),
        transaction: Some(enrolment.transaction.clone()),
        ending,
        certificate,
        steps: enrolment.trace.clone(),
        reason,
        ..Exchange::begun(enrolment.id.clone(), enrolment.received_at, operation)
    }
}
