//! Revocations that others ask for.
//!
//! Asked, done, reported, in this order: what was done and not reported, because of a crash or a failure, comes again, and is a success
//! then too. A request for another CA's certificate is left alone for that CA: said to be impossible it would be lost for it. So many of
//! those may stand before ours that a list shows none of ours; then ours are asked for by the issuer's name as well.

use std::collections::BTreeSet;

use super::{because_of, revoking};
use crate::{
    domain::{
        access::Actor,
        certificate::Purpose,
        issuer::{Issuer, IssuerKind},
        status::{CauseChange, revocation},
        vouch::Voucher,
    },
    ports::{RevocationFailure, RevocationQueue, RevocationRequest, RevocationResult},
    service::{
        Gateway, ServiceError,
        audit::Act,
        certificate::change_certificate,
        metric::{self, label},
        status::causes_of,
    },
    types::{CertificateId, IssuerId, RevocationReason, SerialNumber},
    wire::x509::Name,
};

/// Lists per round: ten thousand revocations, then other jobs get their turn.
const MAX_LISTS: usize = 20;

impl Gateway {
    /// Looks once, until the list is empty.
    pub(in crate::service) fn poll_revocations(&self, by: Voucher) -> Result<(), ServiceError> {
        let Some(queue) = self.ports.vouchers.revocations.get(&by) else { return Ok(()) };
        let issuers = self.leaf_issuers();
        if !queue.by_issuer() && !self.empty_list(by, queue.as_ref(), None, &issuers)? {
            return Ok(());
        }
        // The generations of a CA have one name.
        let names: BTreeSet<_> = issuers.iter().map(|(_, name)| name.to_string()).collect();
        for name in names {
            self.empty_list(by, queue.as_ref(), Some(&name), &issuers)?;
        }
        Ok(())
    }

    /// The issuers of devices' certificates, with their names: every generation of the CAs below a root, whether a profile still names
    /// them or not, and the roots that a profile names.
    fn leaf_issuers(&self) -> Vec<(IssuerId, Name)> {
        let authorities = self.authorities();
        let named: BTreeSet<_> =
            authorities.profiles().map(|profile| profile.spec().issuer.clone()).collect();
        let certifies_devices =
            |issuer: &Issuer| issuer.kind != IssuerKind::Root || named.contains(&issuer.id);
        authorities
            .issuers()
            .filter(|authority| certifies_devices(&authority.issuer))
            .map(|authority| (authority.issuer.id.clone(), authority.certificate.subject().clone()))
            .collect()
    }

    /// Works off a list. True: others' requests are in it, which may hide ours.
    fn empty_list(
        &self,
        by: Voucher,
        queue: &dyn RevocationQueue,
        filter: Option<&str>,
        issuers: &[(IssuerId, Name)],
    ) -> Result<bool, ServiceError> {
        let mut left_alone = false;
        for _ in 0..MAX_LISTS {
            let listed = queue.requests(filter);
            self.outside.heard(by.to_string(), self.now(), listed.as_ref().err());
            let listed = listed?;
            let results: Vec<_> =
                listed.iter().filter_map(|request| self.revoke_as_asked(by, request, issuers)).collect();
            left_alone = results.len() < listed.len();
            if results.is_empty() {
                break;
            }
            let reported = queue.report(&results);
            self.outside.heard(by.to_string(), self.now(), reported.as_ref().err());
            reported?;
            for result in &results {
                count(by, result);
            }
            // It would come again at once. What is refused for good is gone with the report.
            let passes = |it: &RevocationResult| matches!(it.outcome, Err(RevocationFailure::Passing(_)));
            if results.iter().any(passes) {
                break;
            }
        }
        Ok(left_alone)
    }

    /// None: another CA's.
    fn revoke_as_asked(
        &self,
        by: Voucher,
        request: &RevocationRequest,
        issuers: &[(IssuerId, Name)],
    ) -> Option<RevocationResult> {
        let wanted = |(_, name): &&(IssuerId, Name)| match &request.issuer_name {
            Some(asked) => is_called(name, asked),
            None => true,
        };
        let candidates: Vec<&IssuerId> = issuers.iter().filter(wanted).map(|(id, _)| id).collect();
        if candidates.is_empty() {
            tracing::debug!(%by, issuer = request.issuer_name, "a revocation for another CA is left alone");
            return None;
        }
        let outcome = match self.named(request, &candidates) {
            Ok(id) => self.revoke_named(by, &id).map_err(|error| match error {
                ServiceError::Refused(why) => RevocationFailure::Refused(why),
                other => {
                    tracing::error!(%by, certificate = %id, error = %other, "a revocation failed; it will be asked for again");
                    RevocationFailure::Passing("the CA's store failed".to_owned())
                }
            }),
            Err(failure) => Err(failure),
        };
        Some(RevocationResult { context: request.context.clone(), outcome })
    }

    /// The certificate that a serial number means: in hexadecimal, as it was told to them, else in decimal, as some write it.
    fn named(
        &self,
        request: &RevocationRequest,
        issuers: &[&IssuerId],
    ) -> Result<CertificateId, RevocationFailure> {
        let text: String = request.serial.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        let readings = [text.parse::<SerialNumber>().ok(), from_decimal(&text)];
        if readings.iter().all(Option::is_none) {
            return Err(RevocationFailure::Invalid("the serial number is none".to_owned()));
        }
        let found = self.ports.store.read(|view| {
            for serial in readings.iter().flatten() {
                let records = view.certificates_by_serial(serial)?;
                let ours = |record: &crate::domain::certificate::CertificateRecord| {
                    record.purpose == Purpose::Leaf && issuers.contains(&&record.id.issuer)
                };
                if let Some(record) = records.into_iter().find(ours) {
                    return Ok::<_, ServiceError>(Some(record.id));
                }
            }
            Ok(None)
        });
        match found {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(RevocationFailure::NotFound),
            Err(_) => Err(RevocationFailure::Passing("the CA's store failed".to_owned())),
        }
    }

    fn revoke_named(&self, by: Voucher, id: &CertificateId) -> Result<(), ServiceError> {
        let act = Act { actor: Actor::Voucher { by }, request: self.new_request(), at: self.now() };
        let cause = revoking(because_of(by, "revoke"), format!("{by} asked for it"), &act);
        let accepted = self.accepted();
        let changed = self.ports.store.write(|tx| {
            // What is revoked for good is what they want, whoever did it.
            let now = revocation(&causes_of(tx.as_view(), id)?);
            if now.is_some_and(|now| now.reason != RevocationReason::CertificateHold) {
                return Ok(None);
            }
            change_certificate(tx, id, &[CauseChange::Put(cause.clone())], &act)
        })?;
        if let Some(changed) = changed {
            tracing::info!(request = %act.request, certificate = %id, %by, "revoked as asked");
            self.certificates_moved(&[changed], accepted)?;
        }
        Ok(())
    }
}

/// Whether `asked` is the issuer's name: as a name, or as the text that was told.
fn is_called(name: &Name, asked: &str) -> bool {
    asked.eq_ignore_ascii_case(&name.to_string())
        || asked.parse::<Name>().is_ok_and(|asked| asked.matches(name))
}

/// A decimal number of at most 20 octets as a serial number.
fn from_decimal(text: &str) -> Option<SerialNumber> {
    const MAX_OCTETS: usize = 20;
    let mut magnitude: Vec<u8> = vec![0];
    for digit in text.chars() {
        let mut carry = digit.to_digit(10)?;
        for octet in magnitude.iter_mut().rev() {
            let value = u32::from(*octet) * 10 + carry;
            *octet = (value & 0xff) as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            magnitude.insert(0, carry.try_into().ok()?);
        }
        if magnitude.len() > MAX_OCTETS {
            return None;
        }
    }
    hex::encode(magnitude).parse().ok()
}

fn count(by: Voucher, result: &RevocationResult) {
    let outcome = match &result.outcome {
        Ok(()) => "revoked",
        Err(RevocationFailure::Invalid(_)) => "invalid",
        Err(RevocationFailure::NotFound) => "not-found",
        Err(RevocationFailure::Refused(_)) => "refused",
        Err(RevocationFailure::Passing(_)) => "failed",
    };
    metrics::counter!(
        metric::REVOCATIONS_ASKED, label::DESTINATION => by.to_string(), label::OUTCOME => outcome
    )
    .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_serials_are_read() {
        let serial = |text: &str| from_decimal(text).map(|serial| serial.to_string());
        assert_eq!(serial("255").as_deref(), Some("ff"));
        assert_eq!(serial("65536").as_deref(), Some("010000"));
        assert_eq!(
            serial("340282366920938463463374607431768211455").as_deref(),
            Some("ffffffffffffffffffffffffffffffff")
        );
        for wrong in ["", "0", "1f", "-1", &"9".repeat(60)] {
            assert_eq!(serial(wrong), None, "{wrong}");
        }
    }
}
