//! Whether those whom certgate asks can be asked: at the request of an operator, who may wait.

use std::sync::TryLockError;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{Authed, Operate},
        vouch::Voucher,
    },
    ports::ProbeStep,
    service::{
        Gateway, ServiceError,
        health::{Check, CheckResult},
    },
};

/// What was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// All of it works.
    pub works: bool,
    /// One for each thing that was tried: `intune/token-for-graph`, `intune/services`, `intune/token-for-intune`, `intune/permission`,
    /// `approval-webhook/PROFILE`, `directory/NAME`, `directory/NAME/ISSUER`. Empty where nobody is configured.
    pub checks: Vec<Check>,
}

impl Gateway {
    /// Asks everybody who vouches for what each request to them needs, every approval webhook nothing at all, and every directory for the CRLs that it has: nothing is validated,
    /// consumed or changed there. One at a time, for it takes as long as they do.
    ///
    /// Errors: another one is under way.
    pub fn probe(&self, authed: &Authed<Operate>) -> Result<ProbeReport, ServiceError> {
        let _alone = match self.outside.probing.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(ServiceError::Conflict("another probe is under way".to_owned()));
            }
        };
        let mut checks = Vec::new();
        for (by, vouching) in &self.ports.vouchers.vouching {
            checks.extend(vouching.probe().into_iter().map(|step| check(*by, step)));
        }
        checks.extend(self.probe_approval_webhooks());
        checks.extend(self.probe_directories());
        let works = checks.iter().all(|check| check.result == CheckResult::Pass);
        tracing::info!(request = %authed.caller().request, works, "those whom certgate asks were probed");
        Ok(ProbeReport { works, checks })
    }
}

fn check(by: Voucher, step: ProbeStep) -> Check {
    let name = format!("{by}/{}", step.what);
    match step.result {
        Ok(found) => Check::pass(name, found),
        Err((why, hint)) => Check::not_passed(name, CheckResult::Fail, why, hint),
    }
}
