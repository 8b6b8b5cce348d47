//! Issuers and profiles as operators see them.

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    authority::{Authority, External},
};
use crate::{
    domain::{
        access::{Authed, Read},
        certificate::Purpose,
        client::behaviour::Behaviour,
        crl::CrlScope,
        issuer::{Generation, Issuer, IssuerKind},
        profile::{Profile, ProfileSpec},
        status::{Status, effective},
    },
    ports::View,
    types::{DigestAlgorithm, Fingerprint, IssuerId, KeyAlgorithm, ProfileName, SerialNumber, Timestamp},
    wire::x509::Certificate,
};

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerView {
    /// Its name.
    pub id: IssuerId,
    /// What kind it is.
    pub kind: IssuerKind,
    /// The issuer above.
    pub parent: Option<IssuerId>,
    /// Its subject.
    pub subject: String,
    /// The effective status of its certificate: what happens to it happens to all that it issued.
    pub status: Status,
    /// The serial number of its certificate.
    pub serial: SerialNumber,
    /// notBefore of its certificate.
    pub not_before: Timestamp,
    /// notAfter of its certificate.
    pub not_after: Timestamp,
    /// Its key.
    pub key_algorithm: KeyAlgorithm,
    /// The digest of its signatures.
    pub digest: DigestAlgorithm,
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// SHA-1 of its certificate in hexadecimal: what Apple's and older Cisco's dialogs show.
    pub sha1: String,
    /// MD5 of its certificate in hexadecimal: what Cisco IOS and AudioCodes show.
    pub md5: String,
    /// Where its CRL is published.
    pub crl_urls: Vec<String>,
    /// Where its OCSP responder is.
    pub ocsp_urls: Vec<String>,
    /// Where its certificate is published.
    pub ca_issuers_urls: Vec<String>,
    /// certgate's own certificates under it that are in use: OCSP signer, trusted responders, SCEP message keys (newest first).
    pub system_certificates: Vec<SystemCertificateView>,
    /// What signs its OCSP answers: `delegate`, `delegate (KEY)` with a key of that kind, or `ca`.
    #[serde(default)]
    pub ocsp_signer: String,
    /// Number of its newest CRL.
    pub crl_number: Option<u64>,
    /// Its place in its line of CAs.
    pub generation: Generation,
    /// How many certificates of devices and users, not expired, are its own; absent in listings, because they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexpired: Option<u64>,
    /// Its certificate and those above it, as PEM text; absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

/// A CA whose key is not here, and for whose certificates certgate answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalIssuerView {
    /// Its name.
    pub id: IssuerId,
    /// Always `external`.
    pub kind: String,
    /// Its subject.
    pub subject: String,
    /// The serial number of its certificate.
    pub serial: SerialNumber,
    /// notBefore of its certificate.
    pub not_before: Timestamp,
    /// notAfter of its certificate.
    pub not_after: Timestamp,
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// SHA-1 of its certificate in hexadecimal.
    pub sha1: String,
    /// When it was recorded here.
    pub created_at: Timestamp,
    /// Who signs OCSP answers about its certificates: `none`, `delegate`, `trusted by NAME`; see [`super::responder`].
    #[serde(default)]
    pub ocsp: String,
    /// notAfter of the responder's certificate that signs them.
    #[serde(default)]
    pub responder_not_after: Option<Timestamp>,
    /// Number of its last CRL that was imported.
    pub crl_number: Option<u64>,
    /// nextUpdate of that CRL: nobody here can sign the next one.
    pub crl_next_update: Option<Timestamp>,
    /// How many of its certificates are known; absent in listings, because they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<u64>,
    /// Its certificate as PEM text; absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

/// A profile, newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Its name.
    pub name: ProfileName,
    /// Its version.
    pub version: u32,
    /// Since when this version is in force.
    pub created_at: Timestamp,
    /// Whether the configuration still has it. If not, nothing is issued under it; what was issued is answered for.
    pub in_force: bool,
    /// What devices are given as the SCEP server's URL; none where the issuer has no public URL.
    pub scep_url: Option<String>,
    /// What it says.
    pub spec: ProfileSpec,
    /// How its endpoint behaves: what the spec says and what its clients want, taken together.
    pub behaviour: Behaviour,
}

impl ProfileView {
    fn of(profile: Profile, in_force: bool, issuer: Option<&Issuer>) -> Self {
        let scep_url = issuer.and_then(public_url).map(|base| format!("{base}/scep/{}", profile.name));
        let Profile { name, version, created_at, spec } = profile;
        let behaviour = Behaviour::of(&spec);
        Self { name, version, created_at, in_force, scep_url, spec, behaviour }
    }
}

/// Where the device listener is seen from outside: what the certificates say of the issuer's own.
pub(super) fn public_url(issuer: &Issuer) -> Option<&str> {
    let suffix = format!("/ca/{}.cer", issuer.id);
    issuer.ca_issuers_urls.iter().find_map(|url| url.strip_suffix(suffix.as_str()))
}

/// One of certgate's own certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCertificateView {
    /// What it is for.
    pub purpose: Purpose,
    /// Its serial number.
    pub serial: SerialNumber,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// When it expires.
    pub not_after: Timestamp,
}

fn system_certificates(authority: &Authority) -> Vec<SystemCertificateView> {
    let signer = authority.ocsp.iter().map(|it| (Purpose::OcspSigner, &it.certificate));
    let trusted = authority.trusted.iter().map(|it| (Purpose::TrustedResponder, &it.certificate));
    let messages = authority.message_keys.iter().map(|it| (Purpose::ScepMessage, &it.certificate));
    let view = |(purpose, certificate): (Purpose, &Certificate)| SystemCertificateView {
        purpose,
        serial: certificate.serial().clone(),
        fingerprint: certificate.fingerprint(),
        not_after: certificate.validity().not_after,
    };
    signer.chain(trusted).chain(messages).map(view).collect()
}

impl Gateway {
    /// All issuers, by name.
    pub fn issuers(&self, _authed: &Authed<Read>) -> Result<Listing<IssuerView>, ServiceError> {
        let authorities = self.authorities();
        self.ports.store.read(|view| {
            let views = authorities.issuers().map(|authority| self.issuer_view(view, authority));
            Ok(Listing::whole(views.collect::<Result<_, ServiceError>>()?))
        })
    }

    /// One issuer, with its chain.
    pub fn issuer(&self, _authed: &Authed<Read>, id: &IssuerId) -> Result<IssuerView, ServiceError> {
        self.shown_issuer(id)
    }

    /// The same for whoever has just changed it.
    pub(super) fn shown_issuer(&self, id: &IssuerId) -> Result<IssuerView, ServiceError> {
        let authorities = self.authorities();
        let authority = authorities.issuer(id).ok_or_else(|| ServiceError::not_found("issuer", id))?;
        let chain = std::iter::once(&authority.certificate).chain(&authority.chain);
        let pem = Some(chain.map(Certificate::to_pem).collect());
        let now = self.now();
        self.ports.store.read(|view| {
            let mut unexpired = 0;
            view.visit_certificates(id, &mut |_, not_after, purpose| {
                unexpired += u64::from(purpose == Purpose::Leaf && not_after >= now);
                Ok(())
            })?;
            Ok(IssuerView { pem, unexpired: Some(unexpired), ..self.issuer_view(view, authority)? })
        })
    }

    /// All external issuers, by name.
    pub fn external_issuers(
        &self,
        _authed: &Authed<Read>,
    ) -> Result<Listing<ExternalIssuerView>, ServiceError> {
        let authorities = self.authorities();
        Ok(Listing::whole(authorities.externals().map(|external| self.external_view(external)).collect()))
    }

    /// One external issuer, with its certificate.
    pub fn external_issuer(
        &self,
        _authed: &Authed<Read>,
        id: &IssuerId,
    ) -> Result<ExternalIssuerView, ServiceError> {
        let authorities = self.authorities();
        let external =
            authorities.external(id).ok_or_else(|| ServiceError::not_found("external issuer", id))?;
        let mut certificates = 0;
        self.ports.store.read(|view| {
            view.visit_certificates(id, &mut |_, _, _| {
                certificates += 1;
                Ok(())
            })
        })?;
        let pem = Some(external.certificate.to_pem());
        Ok(ExternalIssuerView { pem, certificates: Some(certificates), ..self.external_view(external) })
    }

    fn external_view(&self, external: &External) -> ExternalIssuerView {
        let (issuer, certificate) = (&external.issuer, &external.certificate);
        let crl = self.crl(&issuer.id);
        ExternalIssuerView {
            id: issuer.id.clone(),
            kind: "external".to_owned(),
            subject: certificate.subject().to_string(),
            serial: certificate.serial().clone(),
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
            fingerprint: certificate.fingerprint(),
            sha1: hex::encode(crate::types::sha1(certificate.as_der())),
            created_at: issuer.created_at,
            ocsp: issuer.ocsp.to_string(),
            responder_not_after: self
                .signing_responder(external)
                .map(|responder| responder.certificate.validity().not_after),
            crl_number: crl.as_ref().map(|crl| crl.number),
            crl_next_update: crl.map(|crl| crl.next_update),
            certificates: None,
            pem: None,
        }
    }

    /// All profiles, newest versions, by name; also those that are not in force any more.
    pub fn profiles(&self, _authed: &Authed<Read>) -> Result<Listing<ProfileView>, ServiceError> {
        self.ports.store.read(|view| {
            let views = view.profiles()?.into_iter().map(|profile| self.profile_view(view, profile));
            Ok(Listing::whole(views.collect::<Result<_, ServiceError>>()?))
        })
    }

    /// One profile, newest version.
    pub fn profile(&self, _authed: &Authed<Read>, name: &ProfileName) -> Result<ProfileView, ServiceError> {
        self.ports.store.read(|view| {
            let profile = view.profile(name)?.ok_or_else(|| ServiceError::not_found("profile", name))?;
            self.profile_view(view, profile)
        })
    }

    fn profile_view(&self, view: &dyn View, profile: Profile) -> Result<ProfileView, ServiceError> {
        let issuer = view.issuer(&profile.spec.issuer)?;
        let in_force = self.profiles.contains(&profile.name);
        Ok(ProfileView::of(profile, in_force, issuer.as_ref()))
    }

    fn issuer_view(&self, view: &dyn View, authority: &Authority) -> Result<IssuerView, ServiceError> {
        let (issuer, certificate) = (&authority.issuer, &authority.certificate);
        let causes = match authority.lineage.first() {
            Some(own) => self.causes_of(view, own)?,
            None => Vec::new(),
        };
        Ok(IssuerView {
            status: effective(&causes, &certificate.validity(), self.now()),
            id: issuer.id.clone(),
            kind: issuer.kind,
            parent: issuer.parent.clone(),
            subject: certificate.subject().to_string(),
            serial: certificate.serial().clone(),
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
            key_algorithm: authority.signer.algorithm(),
            digest: issuer.digest,
            fingerprint: certificate.fingerprint(),
            sha1: hex::encode(crate::types::sha1(certificate.as_der())),
            md5: hex::encode(DigestAlgorithm::Md5.digest(certificate.as_der())),
            crl_urls: issuer.urls_of(CrlScope::Full),
            ocsp_urls: issuer.ocsp_urls.clone(),
            ca_issuers_urls: issuer.ca_issuers_urls.clone(),
            system_certificates: system_certificates(authority),
            ocsp_signer: self.settings.system.ocsp_signer_of(&issuer.generation.line).to_string(),
            crl_number: self.crl(&issuer.id).map(|crl| crl.number),
            generation: issuer.generation.clone(),
            unexpired: None,
            pem: None,
        })
    }
}
