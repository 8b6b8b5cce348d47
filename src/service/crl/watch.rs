//! Which CRLs are due, and which are late.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use crate::{
    domain::{
        access::Actor,
        crl::{CrlPolicy, CrlScope, CrlWindow, Lateness, Partition},
    },
    ports::Tx,
    service::{
        Gateway, ServiceError,
        audit::Act,
        authority::Authority,
        crl::{PublishedCrl, build::says, delta},
        metric::{self, label},
        status::Listed,
    },
    types::{IssuerId, Timestamp},
    wire::crl::{EncodedEntries, EncodedEntry},
};

/// The newest CRL of a scope, by its number, and how late it was when that was last said.
pub(super) type KnownLate = BTreeMap<(IssuerId, CrlScope), (u64, Lateness)>;

impl Gateway {
    /// Scheduled ones, and those that show a change later than promised: the job of a change that was committed but not yet in the
    /// snapshot when the job ran has nothing else to catch it.
    pub(in crate::service) fn issuers_with_due_crl(&self) -> BTreeSet<IssuerId> {
        let now = self.now();
        let authorities = self.authorities();
        let due = authorities.issuers().filter(|authority| {
            let (id, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
            // A change in what is the future now was before the clock was set back.
            let is_late = |at| at > now || policy.after_revocation(at) < now;
            let late = self.status.unpublished_since(id).is_some_and(is_late);
            let alive = authority.certificate.validity().contains(now);
            alive && (late || self.crl_due_at(authority, now).is_none_or(|at| at <= now))
        });
        due.map(|authority| authority.issuer.id.clone()).collect()
    }

    /// At the start: what was committed and is on no CRL is due, whatever became of its job. A CRL may have been made, and the process have died,
    /// between the commit and the snapshot; or the job was given up. Of a CA that is revoked or on hold nothing is compared: its list is long.
    pub(in crate::service) fn note_unpublished(&self) {
        let now = self.now();
        let authorities = self.authorities();
        for authority in authorities.issuers().filter(|it| it.certificate.validity().contains(now)) {
            let id = &authority.issuer.id;
            let listed = self
                .status
                .with_snapshot(id, |snapshot| snapshot.inherited.is_none().then(|| snapshot.listed.clone()));
            // One that cannot be read says nothing.
            let shown = listed
                .flatten()
                .is_some_and(|listed| self.is_published(authority, &listed, now).unwrap_or_default());
            if !shown {
                self.status.not_published(id, now);
            }
        }
    }

    /// Whether the newest full CRL, with the delta to it, says what is `listed`, but for what has expired since. Where there is none, one is made
    /// before any is given out.
    fn is_published(
        &self,
        authority: &Authority,
        listed: &Listed,
        now: Timestamp,
    ) -> Result<bool, ServiceError> {
        let (id, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        let Some(full) = self.crl(id) else { return Ok(true) };
        let due = listed.entries(|not_after| policy.keeps(not_after, now, Some(full.this_update)));
        let delta = self.crl_of(id, CrlScope::Delta).filter(|it| it.base_number == Some(full.number));
        // Nearly always: a million of them are one comparison of bytes.
        if delta.is_none() && says(&full, &due)? {
            return Ok(true);
        }
        let changes = match &delta {
            Some(delta) => EncodedEntries::of(&delta.der)?,
            None => EncodedEntries::none(),
        };
        let said = || Ok::<_, ServiceError>(delta::applied(EncodedEntries::of(&full.der)?, changes.clone()));
        let all = listed.entries(|_| true);
        Ok(are_among(due.iter(), said()?) && are_among(said()?, all.iter()))
    }

    /// When a CRL of the issuer has to be made next, by its schedule or for a change that none shows yet.
    pub(in crate::service) fn next_crl_at(&self, authority: &Authority) -> Option<Timestamp> {
        let (id, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        let late = self.status.unpublished_since(id).map(|at| policy.after_revocation(at));
        late.into_iter().chain(self.crl_due_at(authority, self.now())).min()
    }

    /// When the schedule asks for a CRL of the issuer, of whatever scope. None: at once.
    fn crl_due_at(&self, authority: &Authority, now: Timestamp) -> Option<Timestamp> {
        let issuer = &authority.issuer;
        let published = self.crls_of(&issuer.id);
        let partitions = issuer.partitionings.iter().flat_map(|of| Partition::all(*of));
        let delta = issuer.crl_policy.delta.map(|_| CrlScope::Delta);
        let scopes = [CrlScope::Full].into_iter().chain(delta).chain(partitions.map(CrlScope::Partition));
        let due = scopes.map(|scope| {
            let window = published.iter().find(|crl| crl.scope == scope)?.window();
            // One from the future: the clock went back.
            (window.this_update <= now).then(|| replaced_at(&issuer.crl_policy, scope, window))
        });
        due.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Says aloud, once for each CRL and degree, that its successor does not come: half of its life is over, three quarters, all.
    pub(in crate::service) fn watch_crls(&self) -> Result<(), ServiceError> {
        let now = self.now();
        let authorities = self.authorities();
        for authority in authorities.issuers().filter(|it| it.certificate.validity().contains(now)) {
            let id = &authority.issuer.id;
            for crl in self.crls_of(id) {
                let lateness = lateness(authority, &crl, now);
                if self.is_news(id, crl.scope, crl.number, lateness) {
                    self.say_late(id, crl.scope, (crl.number, lateness, crl.next_update))?;
                }
            }
        }
        Ok(())
    }

    fn is_news(&self, issuer: &IssuerId, scope: CrlScope, number: u64, lateness: Lateness) -> bool {
        let mut known = self.crls.late.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert((issuer.clone(), scope), (number, lateness));
        if before.is_none() {
            // Seen from now on, not from its first alarm on.
            metrics::counter!(metric::CRL_LATE, label::ISSUER => issuer.to_string()).increment(0);
        }
        let said = before.filter(|(of, _)| *of == number).map_or(Lateness::OnTime, |(_, said)| said);
        lateness > said
    }

    fn say_late(
        &self,
        issuer: &IssuerId,
        scope: CrlScope,
        (number, lateness, next_update): (u64, Lateness, Timestamp),
    ) -> Result<(), ServiceError> {
        let (scope, over) = (scope.label(), word(lateness));
        tracing::error!(%issuer, scope, number, %next_update, over, "the CRL has no successor: see `certgate doctor`");
        let labels = [(label::ISSUER, issuer.to_string())];
        metrics::counter!(metric::CRL_LATE, &labels).increment(1);
        let act = Act { actor: Actor::System, request: self.new_request(), at: self.now() };
        let detail = [
            ("scope", scope),
            ("number", number.to_string()),
            ("over", over.to_owned()),
            ("next-update", next_update.to_string()),
        ];
        let fact = act.fact("crl.late", issuer, &detail);
        Ok(self.ports.store.write(|tx: &mut dyn Tx| tx.append_audit(&fact))?)
    }
}

/// Whether each of `some` is one of `all`, byte for byte; both in the order of serials.
fn are_among<'a>(
    some: impl Iterator<Item = EncodedEntry<'a>>,
    all: impl Iterator<Item = EncodedEntry<'a>>,
) -> bool {
    let mut all = all.peekable();
    let mut is_there = |wanted: EncodedEntry<'a>| {
        while all.next_if(|it| it.order() < wanted.order()).is_some() {}
        all.next_if(|it| it.order() == wanted.order()).is_some_and(|it| it.der == wanted.der)
    };
    some.into_iter().all(&mut is_there)
}

/// How late the successor of a CRL of the issuer is. One that ends with its issuer is shorter than others, and late only when the schedule
/// has asked for the next: of the last one none comes.
pub(in crate::service) fn lateness(authority: &Authority, crl: &PublishedCrl, now: Timestamp) -> Lateness {
    let (window, policy) = (crl.window(), &authority.issuer.crl_policy);
    let is_cut_short = window.next_update >= authority.certificate.validity().not_after;
    if is_cut_short && now < replaced_at(policy, crl.scope, window) {
        return Lateness::OnTime;
    }
    window.lateness(now)
}

fn replaced_at(policy: &CrlPolicy, scope: CrlScope, window: CrlWindow) -> Timestamp {
    match scope {
        CrlScope::Delta => policy.next_delta(window),
        CrlScope::Full | CrlScope::Partition(_) => policy.next_scheduled(window),
    }
}

/// How much of a CRL's life is over.
const fn word(lateness: Lateness) -> &'static str {
    match lateness {
        Lateness::OnTime => "less than half",
        Lateness::Half => "half",
        Lateness::ThreeQuarters => "three quarters",
        Lateness::Stale => "all",
    }
}
