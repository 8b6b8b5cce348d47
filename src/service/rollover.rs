//! CA rollover (RFC 8894 §4.7, §5.1): the next generation of a CA made, announced, cut over to, or taken back.
//!
//! Each step is one transaction, so that a crash leaves the line before it or after it. Keys are made and certificates signed before;
//! the transaction looks again whether the line is still the one that was planned for.
//!
//! **A generation is an issuer.** The successor of `issuing` is the issuer `issuing-2`, with its own key, message key, OCSP signer,
//! CRL and URLs; where another issuer has that name already, the next number that is free. OCSP, CRL, status and certificate ids know it by its name like any other; only profiles name the line, and
//! mean the generation that is current.
//!
//! **Same name.** The successor has the subject of the CA before it, as RFC 4210 §4.4 and Cisco's shadow certificates have it, so that
//! what matches on the issuer's name in RADIUS and VPN servers goes on matching. Keys and key identifiers tell them apart.
//!
//! **The announcement** is signed twice. By the CA's key, as RFC 8894 §4.7.1 says; and by the message key, as the drafts before it
//! allowed for an RA and jscep 2.5 demands of a server whose GetCACert has one. The certificates are the content, as the RFC says;
//! jscep and sscep 0.9 look for them and for the signers' beside it, in `certificates`, so they are there, too.
//!
//! **After the cut-over** the old message key opens envelopes until its certificate expires: who asked GetCACert before the
//! cut-over is answered by the key that it knows, with a certificate of the new generation. Renewals of certificates of the
//! old one are taken at once, whatever the renewal window says: their CA is on its way out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Ports, ServiceError,
    audit::Act,
    authority::{Authorities, Authority},
    bootstrap::{BACKDATE, MadeCa, subordinate_specification, years},
    certificate::{ChangedCertificate, change_certificate},
    issue,
    issuer::IssuerView,
    status::inherited,
    system::{OwnCertificate, purposes},
};
use crate::{
    domain::{
        access::{Administer, Authed},
        certificate::Purpose,
        issuer::{Generation, GenerationState, Issuer},
        key::KeyPurpose,
        rollover::{Line, RolloverRefused},
        status::{Cause, CauseChange, CauseKey, CauseKind, Effect},
        timer::{Timer, TimerSubject},
    },
    ports::{Tx, View, store::StoreResult},
    types::{CertificateId, DigestAlgorithm, IssuerId, KeyAlgorithm, RevocationReason, Timestamp, Validity},
    wire::{
        scep::{Degenerate, NextCaSpec},
        x509::{Certificate, PublicKey},
    },
};

/// A successor to be made. What is left out is as it is with the current one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSuccessor {
    /// Its kind of key.
    #[serde(default)]
    pub key: Option<KeyAlgorithm>,
    /// How long it lives: 1 to 30, within the life of the CA above.
    #[serde(default)]
    pub years: Option<u32>,
    /// When it becomes current by itself, at the end of the current one at the latest; that is also the default.
    #[serde(default)]
    pub cutover_at: Option<Timestamp>,
}

/// When to cut over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutOver {
    /// Then, which must not be past; now where it is left out.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// What the successor will be, decided from one state of the store and compared with the one it is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    id: IssuerId,
    generation: Generation,
    current: Issuer,
    parent: IssuerId,
}

impl Plan {
    fn of(
        view: &dyn View,
        issuer: &IssuerId,
        wanted: &NewSuccessor,
        now: Timestamp,
    ) -> Result<Self, ServiceError> {
        let line = line_of(view, issuer)?;
        let current = current_of(&line)?;
        let not_after = not_after(current)?;
        let own = view.issuers()?.into_iter().map(|issuer| issuer.id);
        let taken: Vec<_> = own.chain(view.external_issuers()?.into_iter().map(|it| it.id)).collect();
        let (id, generation) = line.successor(&taken, wanted.cutover_at, not_after, now)?;
        let parent = current.parent.clone().ok_or_else(|| RolloverRefused::Root(current.id.clone()))?;
        Ok(Self { id, generation, current: current.clone(), parent })
    }
}

/// A successor with everything that it needs, made and not yet recorded.
struct Successor {
    ca: MadeCa,
    own: Vec<OwnCertificate>,
}

impl Successor {
    fn make(
        gateway: &Gateway,
        plan: &Plan,
        above: &Authority,
        wanted: &NewSuccessor,
        now: Timestamp,
    ) -> Result<Self, ServiceError> {
        let ports = &gateway.ports;
        let before = Certificate::from_der(&plan.current.certificate)?;
        let current_key = before_key(ports, &plan.current)?;
        let key = ports.keyring.generate(wanted.key.unwrap_or(current_key), KeyPurpose::Issuer, now)?;
        let signer = ports.keyring.signer(&key)?;
        let validity = validity(wanted, &before, above, now)?;
        let spec = subordinate_specification(
            ports,
            above.into(),
            before.subject(),
            validity,
            PublicKey::from_spki(&key.public_key)?,
        );
        let certificate = issue::sign(&spec, above.signer.as_ref(), above.issuer.digest)?;
        let renamed = |urls: &[String], folder: &str, ending: &str| {
            renamed(urls, &plan.current.id, &plan.id, folder, ending)
        };
        let issuer = Issuer {
            id: plan.id.clone(),
            certificate: certificate.as_der().to_vec(),
            key: key.id.clone(),
            digest: key.algorithm.digest(plan.current.digest),
            crl_urls: renamed(&plan.current.crl_urls, "crl", "crl"),
            ca_issuers_urls: renamed(&plan.current.ca_issuers_urls, "ca", "cer"),
            created_at: now,
            generation: plan.generation.clone(),
            // Its own: none of its certificates is in a partition yet.
            partitionings: plan.current.crl_policy.partitions.into_iter().collect(),
            ..plan.current.clone()
        };
        let ca = MadeCa::new(issuer, plan.parent.clone(), key, certificate, signer);
        let settings = &gateway.settings;
        let own = purposes(&ca.issuer, &settings.system).into_iter().map(|purpose| {
            OwnCertificate::make(ports, ca.above(), purpose, &settings.system, &settings.server_names)
        });
        let own = own.collect::<Result<_, _>>()?;
        Ok(Self { ca, own })
    }

    fn write(&self, tx: &mut dyn Tx, act: &Act) -> Result<(), ServiceError> {
        self.ca.write(tx, act)?;
        self.own.iter().try_for_each(|own| own.write(tx, act))?;
        if let Some(at) = self.ca.issuer.generation.cutover_at {
            tx.set_timer(&timer(&self.ca.issuer.id, at))?;
        }
        let generation = &self.ca.issuer.generation;
        let detail = [
            ("line", generation.line.to_string()),
            ("generation", generation.number.to_string()),
            ("cut-over", generation.cutover_at.map_or_else(String::new, |at| at.to_string())),
        ];
        Ok(tx.append_audit(&act.fact("issuer.announced", &self.ca.issuer.id, &detail))?)
    }
}

/// As long as the one before was made for, or as asked, within the life of the CA above.
fn validity(
    wanted: &NewSuccessor,
    before: &Certificate,
    above: &Authority,
    now: Timestamp,
) -> Result<Validity, ServiceError> {
    let life = match wanted.years {
        Some(asked @ 1..=30) => years(asked),
        Some(_) => return Err(ServiceError::invalid("years", "a CA lives 1 to 30 years")),
        None => {
            let Validity { not_before, not_after } = before.validity();
            not_after.since(not_before).saturating_sub(BACKDATE)
        }
    };
    let wanted = Validity { not_before: now.minus(BACKDATE), not_after: now.plus(life) };
    let aboves = above.certificate.validity();
    wanted.within(&aboves).filter(|_| aboves.contains(now)).ok_or_else(|| {
        ServiceError::Refused(format!("{} is not valid now: it can sign no successor", above.issuer.id))
    })
}

/// The same places under the successor's name. A URL that does not name the issuer would serve the old CRL or certificate.
fn renamed(urls: &[String], from: &IssuerId, to: &IssuerId, folder: &str, ending: &str) -> Vec<String> {
    let old = format!("/{folder}/{from}.{ending}");
    let bases = urls.iter().filter_map(|url| url.strip_suffix(old.as_str()));
    bases.map(|base| format!("{base}/{folder}/{to}.{ending}")).collect()
}

fn before_key(ports: &Ports, issuer: &Issuer) -> Result<KeyAlgorithm, ServiceError> {
    let key = ports.store.read(|view| Ok::<_, ServiceError>(view.key(&issuer.key)?))?;
    Ok(key.ok_or_else(|| ServiceError::not_found("key", &issuer.key))?.algorithm)
}

fn line_of(view: &dyn View, issuer: &IssuerId) -> Result<Line, ServiceError> {
    Line::of(view.issuers()?, issuer).ok_or_else(|| ServiceError::not_found("issuer", issuer))
}

fn current_of(line: &Line) -> Result<&Issuer, ServiceError> {
    line.current()
        .ok_or_else(|| ServiceError::Internal(format!("the line {} has no current CA", line.name())))
}

fn not_after(issuer: &Issuer) -> Result<Timestamp, ServiceError> {
    Ok(Certificate::from_der(&issuer.certificate)?.validity().not_after)
}

fn timer(successor: &IssuerId, at: Timestamp) -> Timer {
    Timer { at, subject: TimerSubject::CutOver { successor: successor.clone() } }
}

/// The announced one's timer, if it has one, is not needed any more.
fn clear_timer(tx: &mut dyn Tx, announced: Option<&Issuer>) -> StoreResult<()> {
    let Some(announced) = announced else { return Ok(()) };
    match announced.generation.cutover_at {
        Some(at) => tx.clear_timer(&timer(&announced.id, at)),
        None => Ok(()),
    }
}

/// The certificate of a CA below another one.
fn own_certificate(issuer: &Issuer) -> Result<CertificateId, ServiceError> {
    let above = issuer.parent.as_ref().unwrap_or(&issuer.id).clone();
    let serial = Certificate::from_der(&issuer.certificate)?.serial().clone();
    Ok(CertificateId { issuer: above, serial })
}

/// A CA that is itself revoked or on hold vouches for nobody, and what it signs is revoked from its first day.
fn check_above(view: &dyn View, above: &Authority) -> Result<(), ServiceError> {
    match inherited(view, &above.lineage)? {
        None => Ok(()),
        Some(_) => Err(ServiceError::Refused(format!(
            "the certificate of {} is revoked or on hold: it can sign no successor",
            above.issuer.id
        ))),
    }
}

/// The cut-over in the store. Gives the new current one.
fn write_cut_over(tx: &mut dyn Tx, line: &Line, act: &Act) -> Result<IssuerId, ServiceError> {
    let changed = line.cut_over(act.at)?;
    clear_timer(tx, line.announced())?;
    let mut current = None;
    for issuer in &changed {
        tx.put_issuer(issuer)?;
        if issuer.generation.state == GenerationState::Current {
            current = Some(issuer.id.clone());
        }
    }
    let current = current.ok_or_else(|| ServiceError::Internal("a cut-over to nobody".to_owned()))?;
    let before = line.current().map(|before| before.id.to_string()).unwrap_or_default();
    let detail = [("line", line.name().to_string()), ("retired", before)];
    tx.append_audit(&act.fact("issuer.cut-over", &current, &detail))?;
    Ok(current)
}

/// The time of a cut-over has come, as the timer of `successor` says. Gives whether there was one.
pub(super) fn cut_over_due(tx: &mut dyn Tx, successor: &IssuerId, act: &Act) -> Result<bool, ServiceError> {
    let Some(line) = Line::of(tx.issuers()?, successor) else { return Ok(false) };
    let due = |announced: &Issuer| {
        announced.id == *successor && announced.generation.cutover_at.is_some_and(|at| at <= act.at)
    };
    if !line.announced().is_some_and(due) {
        // Done before, but perhaps not told to whoever issues.
        return Ok(line.current().is_some_and(|current| current.id == *successor));
    }
    write_cut_over(tx, &line, act).map(|_| true)
}

/// Whether a certificate of `issuer` is renewed by another generation of its line: then no renewal window is asked for.
pub(super) fn rolls_over(view: &dyn View, issuer: &IssuerId, to: &Issuer) -> StoreResult<bool> {
    if *issuer == to.id {
        return Ok(false);
    }
    Ok(view.issuer(issuer)?.is_some_and(|from| from.generation.line == to.generation.line))
}

impl Gateway {
    /// Makes and announces the successor of the CA that `issuer` is a generation of: a key and a certificate under the same CA
    /// above, with its own message key, OCSP signer and CRL. It issues to those who ask for it from now on.
    ///
    /// Errors: a root, or one is announced already (Refused).
    pub fn roll_over(
        &self,
        authed: &Authed<Administer>,
        issuer: &IssuerId,
        wanted: &NewSuccessor,
    ) -> Result<IssuerView, ServiceError> {
        let act = Act::of(authed, self.now());
        let authorities = self.authorities();
        let plan = self.ports.store.read(|view| Plan::of(view, issuer, wanted, act.at))?;
        let above = authorities
            .issuer(&plan.parent)
            .ok_or_else(|| ServiceError::not_found("issuer", &plan.parent))?;
        let successor = Successor::make(self, &plan, above, wanted, act.at)?;
        self.ports.store.write(|tx| {
            if Plan::of(tx.as_view(), issuer, wanted, act.at)? != plan {
                return Err(ServiceError::Conflict(format!("{issuer} was changed meanwhile: try again")));
            }
            check_above(tx.as_view(), above)?;
            successor.write(tx, &act)
        })?;
        self.reload_authorities()?;
        self.issuer_added(&plan.id)?;
        // What is announced can be checked at once. The job of the transaction tries again where this fails.
        if let Err(error) = self.build_crl(&plan.id) {
            tracing::error!(issuer = %plan.id, %error, "the first CRL was not built; it will be tried again");
        }
        self.wake();
        self.shown_issuer(&plan.id)
    }

    /// Cuts over to the announced successor, now or at a time. Gives the successor.
    ///
    /// Errors: none is announced; that time is past, or the current one expires before it (Refused).
    pub fn cut_over(
        &self,
        authed: &Authed<Administer>,
        issuer: &IssuerId,
        wanted: CutOver,
    ) -> Result<IssuerView, ServiceError> {
        let act = Act::of(authed, self.now());
        let successor = self.ports.store.write(|tx| {
            let line = line_of(tx.as_view(), issuer)?;
            let Some(at) = wanted.at else {
                return write_cut_over(tx, &line, &act);
            };
            let rescheduled = line.rescheduled(at, not_after(current_of(&line)?)?, act.at)?;
            clear_timer(tx, line.announced())?;
            tx.put_issuer(&rescheduled)?;
            tx.set_timer(&timer(&rescheduled.id, at))?;
            let detail = [("cut-over", at.to_string())];
            tx.append_audit(&act.fact("issuer.cut-over-scheduled", &rescheduled.id, &detail))?;
            Ok(rescheduled.id)
        })?;
        self.reload_authorities()?;
        self.wake();
        self.shown_issuer(&successor)
    }

    /// Takes the announced successor back: its certificate is revoked (cessationOfOperation), and its number is not used again.
    /// Gives what it is now.
    ///
    /// Errors: none is announced; it has issued certificates to devices (Refused).
    pub fn cancel_rollover(
        &self,
        authed: &Authed<Administer>,
        issuer: &IssuerId,
    ) -> Result<IssuerView, ServiceError> {
        let (act, accepted) = (Act::of(authed, self.now()), self.accepted());
        let (withdrawn, revoked) = self.ports.store.write(|tx| {
            let line = line_of(tx.as_view(), issuer)?;
            let mut leaves = 0;
            if let Some(announced) = line.announced() {
                tx.visit_certificates(&announced.id, &mut |_, _, purpose| {
                    leaves += u64::from(purpose == Purpose::Leaf);
                    Ok(())
                })?;
            }
            let withdrawn = line.withdrawn(leaves, act.at)?;
            clear_timer(tx, line.announced())?;
            tx.put_issuer(&withdrawn)?;
            let cause = CauseChange::Put(taken_back(&act));
            let revoked = change_certificate(tx, &own_certificate(&withdrawn)?, &[cause], &act)?;
            tx.append_audit(&act.fact("issuer.withdrawn", &withdrawn.id, &[]))?;
            Ok::<(IssuerId, Vec<ChangedCertificate>), ServiceError>((
                withdrawn.id,
                revoked.into_iter().collect(),
            ))
        })?;
        self.reload_authorities()?;
        self.certificates_moved(&revoked, accepted)?;
        self.shown_issuer(&withdrawn)
    }

    /// GetNextCACert (RFC 8894 §4.7): the announced successor's certificates, signed by the current CA. None: there is no
    /// successor.
    pub fn next_ca_certificates(&self, line: &IssuerId) -> Result<Option<Arc<[u8]>>, ServiceError> {
        let authorities = self.authorities();
        let Some((current, next)) = announcement(&authorities, line) else { return Ok(None) };
        if let Some(known) = next.announcement.get() {
            return Ok(Some(Arc::clone(known)));
        }
        let signed = sign_announcement(current, next)?;
        Ok(Some(Arc::clone(next.announcement.get_or_init(|| signed))))
    }
}

/// The cause that a CA which was taken back has.
fn taken_back(act: &Act) -> Cause {
    Cause {
        key: CauseKey { kind: CauseKind::Manual, reference: "withdrawn".to_owned() },
        effect: Effect::Revoke { reason: RevocationReason::CessationOfOperation },
        since: act.at,
        invalidity_date: None,
        actor: act.actor.to_string(),
        note: "the rollover was cancelled".to_owned(),
    }
}

/// The current CA of a line, and the one that it may announce.
pub(super) fn announcement<'a>(
    authorities: &'a Authorities,
    line: &IssuerId,
) -> Option<(&'a Arc<Authority>, &'a Arc<Authority>)> {
    authorities.current(line).zip(authorities.announced(line).filter(|next| !next.message_keys.is_empty()))
}

fn sign_announcement(current: &Authority, next: &Authority) -> Result<Arc<[u8]>, ServiceError> {
    let content = Degenerate::to_der(&next.bundle(), &[])?;
    let message = current.message_keys.first();
    let signers = std::iter::once((&current.certificate, &current.signer))
        .chain(message.map(|key| (&key.certificate, &key.signer)));
    let mut certificates = next.bundle();
    let mut signed = Vec::new();
    for (certificate, signer) in signers {
        certificates.push(certificate.as_der());
        let key = signer.algorithm();
        let algorithm = key.signature(key.digest(announcement_digest(current)));
        let unsigned = NextCaSpec::signer_info(&content, certificate, algorithm)?;
        let signature = signer.sign(algorithm, unsigned.to_be_signed())?;
        signed.push((algorithm.digest(), unsigned.finish(&signature)?));
    }
    let spec = NextCaSpec { content: &content, certificates: &certificates };
    Ok(spec.to_der(signed).into())
}

/// As the CA signs certificates.
fn announcement_digest(current: &Authority) -> DigestAlgorithm {
    current.issuer.digest
}
