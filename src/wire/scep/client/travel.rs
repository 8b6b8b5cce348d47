//! How messages travel (RFC 8894 §4.1).

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// The operations of RFC 8894 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// §3.5.
    GetCaCaps,
    /// §4.2.
    GetCaCert,
    /// §4.7.
    GetNextCaCert,
    /// §4.3.
    PkiOperation,
}

impl Operation {
    /// As it stands in the query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetCaCaps => "GetCACaps",
            Self::GetCaCert => "GetCACert",
            Self::GetNextCaCert => "GetNextCACert",
            Self::PkiOperation => "PKIOperation",
        }
    }
}

/// Everything but what would end the value, or the request line.
const RAW: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'&');

/// How a client writes the base64 of a message into a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Percent-encoded, as RFC 8894 §4.1 says.
    Escaped,
    /// `+`, `/` and `=` as they are.
    Raw,
    /// Lines of 64 characters that end in `%0A`; the rest percent-encoded.
    Lines,
}

impl Spelling {
    /// `message` as the value of a query parameter.
    pub fn of(self, message: &[u8]) -> String {
        let base64 = BASE64_STANDARD.encode(message);
        match self {
            Self::Escaped => utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string(),
            Self::Raw => utf8_percent_encode(&base64, RAW).to_string(),
            Self::Lines => {
                let mut lines = String::with_capacity(base64.len() * 2);
                for (at, character) in base64.chars().enumerate() {
                    if at > 0 && at % 64 == 0 {
                        lines.push_str("%0A");
                    }
                    lines.extend(utf8_percent_encode(character.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
                }
                lines + "%0A"
            }
        }
    }
}

/// The URL of an operation: `base` is everything up to `?operation=`; `message` is ready for a query.
pub fn url(base: &str, operation: Operation, message: Option<&str>) -> String {
    let message = message.map(|message| format!("&message={message}")).unwrap_or_default();
    format!("{}?operation={}{message}", base.trim_end_matches('?'), operation.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base64: `+/+/` again and again, then padding.
    const MESSAGE: [u8; 49] = {
        let mut bytes = [0xfb; 49];
        let mut at = 0;
        while at < 48 {
            bytes[at] = [0xfb, 0xff, 0xbf][at % 3];
            at += 1;
        }
        bytes
    };

    #[test]
    fn base64_is_spelled_as_each_client_does() {
        assert_eq!(Spelling::Raw.of(&MESSAGE), "+/+/".repeat(16) + "+w==");
        assert_eq!(Spelling::Escaped.of(&MESSAGE), "%2B%2F%2B%2F".repeat(16) + "%2Bw%3D%3D");
        assert_eq!(Spelling::Lines.of(&MESSAGE), "%2B%2F%2B%2F".repeat(16) + "%0A%2Bw%3D%3D%0A");
    }

    #[test]
    fn an_operation_is_a_query() {
        assert_eq!(url("http://x/scep?", Operation::GetCaCaps, None), "http://x/scep?operation=GetCACaps");
        assert_eq!(
            url("http://x/scep", Operation::GetCaCert, Some("a")),
            "http://x/scep?operation=GetCACert&message=a"
        );
    }
}
