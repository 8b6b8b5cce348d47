//! A request that the external CA is not to answer any more.

use super::*;

#[test]
fn a_request_that_was_taken_back_leaves_nothing_but_its_record() {
    let it = Takeover::new();
    let cancel = || it.world.gateway.cancel_responder_request(&it.world.authed(), &it.issuer);
    let none_open = cancel().unwrap_err().to_string();
    assert!(none_open.contains("no request is open: certgate responder request"), "{none_open}");

    let request = it.request(&NewResponderRequest::default());
    let key = it.world.read(|view| view.external_issuer(&it.issuer)).unwrap().requested.unwrap();
    let view = cancel().unwrap();
    assert_eq!((view.mode, view.requested_at), (ResponderMode::None, None));
    assert!(it.world.read(|view| view.key(&key)).is_none(), "the key is gone");
    let late = it.install(&signed(&it.old, &request, |_| ())).unwrap_err().to_string();
    assert!(late.contains("no request is open"), "{late}");
    let last = it.world.gateway.audit_tail(&it.world.authed::<Read>(), 1).unwrap().items.remove(0);
    assert_eq!(last.action, "responder.request-cancelled");
    assert_eq!(last.detail["public-key"], request.public_key.to_string());

    // It is as if it had never been; and who signs already goes on.
    let delegate = it.delegated();
    assert_ne!(delegate.public_key().fingerprint(), request.public_key);
    it.request(&NewResponderRequest::default());
    assert_eq!(cancel().unwrap().mode, ResponderMode::Delegate);
    assert_eq!(it.status(it.certificates[0].serial()), CertStatus::Good);
}

#[test]
fn an_issuer_of_ours_has_no_request_to_take_back() {
    let it = Takeover::new();
    let refused = it.world.gateway.cancel_responder_request(&it.world.authed(), &issuing());
    assert!(matches!(refused, Err(ServiceError::NotFound { .. })), "{refused:?}");
}
