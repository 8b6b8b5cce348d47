//! `[outbound]`: how other parties are asked. Which, the sections say that name them.

use hyper::Uri;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Limits, check::Checker};
use crate::{
    adapters::outbound::{Destination, HttpSettings, RequestLimits},
    app::config,
};

/// How other parties are asked, and who they are.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// What all have in common.
    pub http: HttpSettings,
    /// The limits of a request, unless its destination has others.
    pub limits: RequestLimits,
    /// Everybody whom the configuration names.
    pub destinations: Vec<Destination>,
}

impl Checker<'_> {
    /// Nobody is named yet.
    pub(super) fn outbound(&mut self, written: &config::Outbound, limits: &Limits) -> OutboundSettings {
        let workers = limits.enrolment.workers.get();
        let limits = RequestLimits {
            connect: self.duration(
                "outbound.connect-timeout-seconds",
                written.connect_timeout_seconds,
                1..=60,
                1,
            ),
            total: self.duration("outbound.timeout-seconds", written.timeout_seconds, 1..=120, 1),
            places: match self.size("outbound.concurrent-requests", written.concurrent_requests, 0..=1_024) {
                0 => (workers / 2).max(1),
                places => places,
            },
        };
        let http = HttpSettings {
            authorities: self.authorities(written),
            system_roots: written.system_roots,
            proxy: self.proxy(written),
            enrolment_places: (workers * 3 / 4).max(1),
        };
        OutboundSettings { http, limits, destinations: Vec::new() }
    }

    fn authorities(&mut self, written: &config::Outbound) -> Vec<Vec<u8>> {
        const KEY: &str = "outbound.ca-file";
        let Some(file) = &written.ca_file else { return Vec::new() };
        let path = self.directory().join(file);
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
        match certificates {
            Ok(certificates) if !certificates.is_empty() => {
                certificates.iter().map(|der| der.as_ref().to_vec()).collect()
            }
            Ok(_) => {
                self.mistake(KEY, format_args!("{} holds no certificate", path.display()));
                Vec::new()
            }
            Err(error) => {
                self.mistake(KEY, format_args!("{}: {error}", path.display()));
                Vec::new()
            }
        }
    }

    fn proxy(&mut self, written: &config::Outbound) -> Option<(String, u16)> {
        const KEY: &str = "outbound.proxy";
        let text = written.proxy.as_ref()?;
        let uri: Option<Uri> = text.parse().ok();
        let parts = uri.as_ref().and_then(|uri| {
            let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
            let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
            plain.then(|| (authority.host().to_owned(), authority.port_u16().unwrap_or(3128)))
        });
        if parts.is_none() {
            self.mistake(KEY, "is not a URL of the form http://HOST[:PORT], without a password");
        }
        parts
    }
}
