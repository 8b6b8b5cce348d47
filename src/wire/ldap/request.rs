//! Requests. They hold CRLs of some fifty megabytes: a message is written once, into a buffer of its length.

use super::tag;
use crate::wire::der::{
    reader::{BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE, SET, context_primitive},
    writer::{header_len, push_header, unsigned},
};

/// StartTLS (RFC 4511 §4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// An attribute description with its values.
type Values<'a> = (&'a str, Vec<&'a [u8]>);

/// What is asked.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// Simple bind (§4.2). A secret: what [`Operation::encode`] gives goes into no log.
    Bind {
        /// As whom.
        name: &'a str,
        /// The password; without one it would be an unauthenticated bind, which succeeds as nobody (RFC 4513 §5.1.2).
        password: &'a [u8],
    },
    /// §4.3.
    Unbind,
    /// TLS from here on (§4.14).
    StartTls,
    /// The attributes of one entry (§4.5: a search of the base object alone).
    Read {
        /// Its name (RFC 4514).
        entry: &'a str,
        /// Which.
        attributes: &'a [&'a str],
    },
    /// Replaces attributes of an entry, all or none (§4.6). Without values an attribute goes away.
    Replace {
        /// Its name.
        entry: &'a str,
        /// Each with all its values.
        attributes: &'a [Values<'a>],
    },
    /// Adds an entry (§4.7).
    Add {
        /// Its name.
        entry: &'a str,
        /// Each with all its values.
        attributes: &'a [Values<'a>],
    },
}

impl Operation<'_> {
    /// The LDAPMessage with this messageID: 1 to 2^31-1 (§4.1.1).
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let id = unsigned(id.into());
        let message = Part::Of(SEQUENCE, vec![Part::Encoded(&id), self.protocol_op()]);
        let mut bytes = Vec::with_capacity(message.len());
        message.write(&mut bytes);
        bytes
    }

    fn protocol_op(&self) -> Part<'_> {
        match *self {
            Self::Bind { name, password } => Part::Of(
                tag::BIND_REQUEST,
                vec![Part::Content(INTEGER, &[3]), text(name), Part::Content(context_primitive(0), password)],
            ),
            Self::Unbind => Part::Content(tag::UNBIND_REQUEST, &[]),
            Self::StartTls => {
                Part::Of(tag::EXTENDED_REQUEST, vec![Part::Content(context_primitive(0), START_TLS)])
            }
            Self::Read { entry, attributes } => search(entry, attributes),
            Self::Replace { entry, attributes } => {
                let changes = attributes.iter().map(|attribute| {
                    Part::Of(SEQUENCE, vec![Part::Content(ENUMERATED, &[2]), partial_attribute(attribute)])
                });
                Part::Of(tag::MODIFY_REQUEST, vec![text(entry), Part::Of(SEQUENCE, changes.collect())])
            }
            Self::Add { entry, attributes } => {
                let list = attributes.iter().map(partial_attribute).collect();
                Part::Of(tag::ADD_REQUEST, vec![text(entry), Part::Of(SEQUENCE, list)])
            }
        }
    }
}

/// SearchRequest of scope baseObject, which follows no alias, has no limits, and takes whatever class the entry has.
fn search<'a>(entry: &'a str, attributes: &[&'a str]) -> Part<'a> {
    let zero = |tag| Part::Content(tag, &[0]);
    Part::Of(
        tag::SEARCH_REQUEST,
        vec![
            text(entry),
            zero(ENUMERATED),
            zero(ENUMERATED),
            zero(INTEGER),
            zero(INTEGER),
            zero(BOOLEAN),
            Part::Content(context_primitive(7), b"objectClass"),
            Part::Of(SEQUENCE, attributes.iter().map(|name| text(name)).collect()),
        ],
    )
}

fn partial_attribute<'a>((name, values): &Values<'a>) -> Part<'a> {
    let values = values.iter().map(|value| Part::Content(OCTET_STRING, value)).collect();
    Part::Of(SEQUENCE, vec![text(name), Part::Of(SET, values)])
}

fn text(text: &str) -> Part<'_> {
    Part::Content(OCTET_STRING, text.as_bytes())
}

/// An element that is to be written.
enum Part<'a> {
    /// With this content.
    Content(u8, &'a [u8]),
    /// Of these elements.
    Of(u8, Vec<Self>),
    /// As it is.
    Encoded(&'a [u8]),
}

impl Part<'_> {
    fn content_len(&self) -> usize {
        match self {
            Self::Content(_, bytes) | Self::Encoded(bytes) => bytes.len(),
            Self::Of(_, parts) => parts.iter().map(Part::len).sum(),
        }
    }

    fn len(&self) -> usize {
        let content = self.content_len();
        match self {
            Self::Encoded(_) => content,
            Self::Content(..) | Self::Of(..) => header_len(content) + content,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Encoded(bytes) => out.extend_from_slice(bytes),
            Self::Content(tag, bytes) => {
                push_header(out, *tag, bytes.len());
                out.extend_from_slice(bytes);
            }
            Self::Of(tag, parts) => {
                push_header(out, *tag, self.content_len());
                for part in parts {
                    part.write(out);
                }
            }
        }
    }
}
