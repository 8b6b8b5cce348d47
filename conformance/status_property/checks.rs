//! What must hold after every step of a history.

use std::time::Duration;

use certgate::{
    domain::crl::CrlScope,
    types::{CertificateId, RevocationReason, SerialNumber},
};

use crate::{
    History, POLICY,
    observe::{self, OcspSays, QUESTIONS, Question},
    oracle::{self, Shown},
};

impl History {
    /// What should be shown of a certificate. certgate's own signers, to which nothing ever happens here, have what their issuer has.
    fn foreseen(&self, id: &CertificateId) -> (Option<usize>, Option<Shown>) {
        let model = self.oracle.certificates.iter().position(|it| it.id == *id);
        let ca = if id.issuer.as_str() == "root" { oracle::ROOT } else { oracle::ISSUING };
        (model, model.map_or_else(|| self.oracle.inherited(ca), |index| self.oracle.shown(index)))
    }

    /// Invariants 1 and 6: OCSP and API say what the model says, and nothing comes back from a permanent revocation.
    pub(crate) fn check_answers(&mut self, questions: &[Question]) {
        for id in observe::all_certificates(&self.world) {
            let (model, shown) = self.foreseen(&id);
            let status_foreseen = model.map(|index| self.oracle.status(index, self.world.now()));
            for question in questions {
                let says = observe::ocsp(&self.world, &self.issuers[&id.issuer], &id.serial, *question);
                assert_eq!(says, OcspSays::from(shown), "OCSP of {id} ({question:?})");
                self.note_revocation(&id, says);
            }
            let (status, revocation) = observe::api(&self.world, &id);
            assert_eq!(revocation, shown, "the API's view of {id}");
            assert_eq!(status, status_foreseen.unwrap_or(status), "the API's status of {id}");
        }
    }

    /// Invariant 6, without the model: from what was seen alone.
    fn note_revocation(&mut self, id: &CertificateId, says: OcspSays) {
        let permanent =
            matches!(says, OcspSays::Revoked { reason, .. } if reason != RevocationReason::CertificateHold);
        if permanent {
            self.revoked_for_good.insert(id.clone());
        }
        assert!(
            permanent || !self.revoked_for_good.contains(id),
            "{id} was revoked for good and is {says:?}"
        );
    }

    /// Invariant 1 for the CRLs: the full one with its delta, and the partitions together, list what OCSP calls revoked, and nothing else.
    pub(crate) fn check_crls(&mut self) {
        let keep = Duration::from_secs(POLICY.keep_expired.expect("some time"));
        for (issuer, certificate) in &self.issuers {
            let crl = observe::crl(&self.world.gateway, issuer, certificate);
            assert!(
                self.world.gateway.crl_of(issuer, CrlScope::Delta).is_some(),
                "every issuer has a delta CRL"
            );
            if issuer.as_str() == "issuing" {
                observe::partitions_hold(&self.world.gateway, issuer, certificate, &crl);
            }
            let known = observe::all_certificates(&self.world);
            for id in known.iter().filter(|id| id.issuer == *issuer) {
                let listed = crl.entries.get(&id.serial).copied();
                let not_after = self.world.read(|view| view.certificate(id)).unwrap().validity.not_after;
                let pruned = listed.is_none() && crl.this_update > not_after.plus(keep);
                let foreseen = self.foreseen(id).1;
                assert!(
                    pruned || listed == foreseen,
                    "{id} on CRL {}: {listed:?}, not {foreseen:?}",
                    crl.number
                );
            }
            for serial in crl.entries.keys() {
                let of_this = |id: &CertificateId| id.issuer == *issuer && id.serial == *serial;
                assert!(known.iter().any(of_this), "CRL {} lists {serial}", crl.number);
            }
            if let Some(before) = self.crls.get(issuer) {
                let same = before.der == crl.der;
                assert!(same || crl.number > before.number, "CRL {} after {}", crl.number, before.number);
            }
            self.crls.insert(issuer.clone(), crl);
        }
    }

    /// Invariant 4: neither an invented serial, nor another issuer's, nor one beside a real one.
    pub(crate) fn check_never_issued(&self) {
        let known = observe::all_certificates(&self.world);
        let last = &known[known.len() - 1];
        let mut beside = last.serial.as_bytes().to_vec();
        if let Some(byte) = beside.last_mut() {
            *byte ^= 1;
        }
        let never = [
            SerialNumber::from_random([0x42; 16]),
            last.serial.clone(),
            SerialNumber::from_magnitude(&beside).unwrap(),
        ];
        for (issuer, certificate) in &self.issuers {
            for serial in &never {
                let id = CertificateId { issuer: issuer.clone(), serial: serial.clone() };
                if !known.contains(&id) {
                    let says = observe::ocsp(&self.world, certificate, serial, QUESTIONS[0]);
                    assert_eq!(says, OcspSays::Unknown, "{id} was never issued");
                }
            }
        }
    }
}
