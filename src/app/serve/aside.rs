//! Requests to other parties, made aside: while one is under way its thread computes nothing, and must not keep those that could from it.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::vouch::Verdict,
    http::bridge::aside,
    ports::{
        IssuedNotice, NoAnswer, RefusedNotice, VoucherRequest, Vouching,
        outbound::{Outbound, OutboundAnswer, OutboundError, OutboundRequest},
    },
};

/// Passes everything on, without the turn of the thread that asks.
pub(super) struct AsideOutbound(pub(super) Arc<dyn Outbound>);

impl Outbound for AsideOutbound {
    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
        aside(|| self.0.send(request))
    }
}

/// Passes everything on, without the turn of the thread that asks. The whole of it, not the requests alone: callers wait for each other's
/// tokens too, and one that kept its turn meanwhile would keep it from the one that brings the token.
pub(super) struct AsideVouching(pub(super) Arc<dyn Vouching>);

impl Vouching for AsideVouching {
    fn validate(&self, request: &VoucherRequest<'_>) -> Result<Verdict, NoAnswer> {
        aside(|| self.0.validate(request))
    }

    fn tell_issued(&self, request: &VoucherRequest<'_>, issued: &IssuedNotice) -> Result<(), NoAnswer> {
        aside(|| self.0.tell_issued(request, issued))
    }

    fn tell_refused(&self, request: &VoucherRequest<'_>, refused: &RefusedNotice) -> Result<(), NoAnswer> {
        aside(|| self.0.tell_refused(request, refused))
    }

    fn delivery_waits(&self) -> bool {
        self.0.delivery_waits()
    }

    fn give_up_after(&self) -> Duration {
        self.0.give_up_after()
    }

    fn check(&self) -> Result<Vec<String>, NoAnswer> {
        aside(|| self.0.check())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::{
        adapters::{
            intune::IntuneSettings,
            system::{SystemClock, SystemRandomSource},
        },
        app::serve::intune,
        http::bridge::Bridge,
        ports::outbound::OutboundMethod,
        types::Secret,
    };

    /// Answers nobody before it is told to.
    struct Slow {
        asked: mpsc::Sender<()>,
        told: Mutex<mpsc::Receiver<()>>,
    }

    impl Outbound for Slow {
        fn send(&self, _: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
            self.asked.send(()).unwrap();
            self.told.lock().unwrap().recv().unwrap();
            Err(OutboundError::Busy { destination: "slow".to_owned() })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_party_takes_no_turn() {
        let (asked, was_asked) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let slow = AsideOutbound(Arc::new(Slow { asked, told: Mutex::new(told) }));
        let bridge = Arc::new(Bridge::start("test", 2, 1, 8).unwrap());
        let waits = tokio::spawn({
            let bridge = Arc::clone(&bridge);
            async move {
                let ask = move || {
                    let request = OutboundRequest {
                        destination: "slow",
                        method: OutboundMethod::Get,
                        url: "https://slow.example/",
                        headers: &[],
                        body: &[],
                    };
                    slow.send(&request).is_err()
                };
                bridge.call(ask).await
            }
        });
        was_asked.recv().unwrap();
        assert_eq!(bridge.call(|| "computed").await, Ok("computed"));
        tell.send(()).unwrap();
        assert_eq!(waits.await.unwrap(), Ok(true));
    }

    fn settings() -> IntuneSettings {
        IntuneSettings {
            tenant: "example.test".to_owned(),
            client_id: "app".to_owned(),
            client_secret: Secret::from("secret"),
            login_url: "https://login.example".to_owned(),
            graph_url: "https://graph.example".to_owned(),
            resource_url: "https://api.example".to_owned(),
            wait_for_success_notification: true,
            give_up_after: Duration::from_secs(3600),
            poll_interval: Duration::ZERO,
            by_issuer: true,
            places: 8,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_for_a_token_that_another_asks_for_takes_no_turn() {
        const LONG: Duration = Duration::from_secs(20);
        let (asked, was_asked) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let slow = Arc::new(Slow { asked, told: Mutex::new(told) });
        let random = Arc::new(SystemRandomSource::default());
        let vouchers = intune(&settings(), slow, Arc::new(SystemClock), random);
        let vouching = vouchers.vouching.into_values().next().unwrap();
        let bridge = Arc::new(Bridge::start("test", 4, 1, 8).unwrap());
        let ask = || {
            let (bridge, vouching) = (Arc::clone(&bridge), Arc::clone(&vouching));
            let request = VoucherRequest { profile: "phones", transaction: "1", csr: b"" };
            tokio::spawn(async move { bridge.call(move || vouching.validate(&request).is_err()).await })
        };
        let first = ask();
        was_asked.recv().unwrap();
        let second = ask();
        let free = tokio::time::timeout(LONG, bridge.call(|| "computed")).await;
        assert_eq!(free, Ok(Ok("computed")), "both wait, and neither has a turn");
        tell.send(()).unwrap();
        for waits in [first, second] {
            assert_eq!(tokio::time::timeout(LONG, waits).await.unwrap().unwrap(), Ok(true));
        }
    }
}
