//! Requests to other parties, made aside: while one is under way its thread computes nothing, and must not keep those that could from it.

use std::sync::Arc;

use crate::{
    http::bridge::aside,
    ports::outbound::{Outbound, OutboundAnswer, OutboundError, OutboundRequest},
};

/// Passes everything on, without the turn of the thread that asks.
pub(super) struct AsideOutbound(pub(super) Arc<dyn Outbound>);

impl Outbound for AsideOutbound {
    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
        aside(|| self.0.send(request))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::{http::bridge::Bridge, ports::outbound::OutboundMethod};

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
}
