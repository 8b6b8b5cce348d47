//! Which client a request looks like: what is seen of it from outside, before anything is opened. For the trace, the log and a
//! metric; no decision rests on it.

use super::Origin;
use crate::{
    domain::{client::suggest::Features, exchange::MAX_CLIENT_TEXT},
    types::ContentCipher,
    wire::scep::PkiMessage,
};

/// What HTTP alone shows.
pub(super) fn of_origin(origin: &Origin) -> Features<'_> {
    let (agent, http) = (origin.user_agent.as_str(), &origin.http);
    // A header may be long, and it is searched again and again.
    let looked_at = agent.char_indices().nth(MAX_CLIENT_TEXT).and_then(|(end, _)| agent.get(..end));
    Features {
        user_agent: Some(looked_at.unwrap_or(agent)).filter(|agent| !agent.is_empty()),
        post: http.method == "POST",
        http_1_0: http.version == "HTTP/1.0",
        line_ends: http.line_ends,
        ca_identifier: http.ca_identifier.as_deref(),
        ..Features::default()
    }
}

/// The same with the outside of a message, and of its envelope where that is read.
pub(super) fn of_message<'a>(
    origin: &'a Origin,
    message: &'a PkiMessage,
    cipher: Option<ContentCipher>,
) -> Features<'a> {
    Features {
        transaction_id: message.transaction_id().as_str(),
        cipher,
        content_type: message.has_content_type(),
        signing_time: message.has_signing_time(),
        ..of_origin(origin)
    }
}
