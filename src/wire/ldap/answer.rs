//! Answers.

use std::fmt;

use super::tag;
use crate::wire::{
    der::{
        BerError,
        reader::{ENUMERATED, Header, INTEGER, OCTET_STRING, SEQUENCE, SET},
    },
    x509::DecodeError,
};

/// Values that an entry may have in all: a CA has some certificates and CRLs. Each is small here, however many an answer has room for.
const MAX_VALUES: usize = 10_000;

/// resultCode (RFC 4511 §4.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode(pub u32);

impl ResultCode {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// noSuchObject.
    pub const NO_SUCH_OBJECT: Self = Self(32);

    /// Its name in Appendix A.
    const fn name(self) -> &'static str {
        match self.0 {
            0 => "success",
            1 => "operationsError",
            2 => "protocolError",
            3 => "timeLimitExceeded",
            4 => "sizeLimitExceeded",
            7 => "authMethodNotSupported",
            8 => "strongerAuthRequired",
            10 => "referral",
            11 => "adminLimitExceeded",
            12 => "unavailableCriticalExtension",
            13 => "confidentialityRequired",
            16 => "noSuchAttribute",
            17 => "undefinedAttributeType",
            19 => "constraintViolation",
            20 => "attributeOrValueExists",
            21 => "invalidAttributeSyntax",
            32 => "noSuchObject",
            33 => "aliasProblem",
            34 => "invalidDNSyntax",
            48 => "inappropriateAuthentication",
            49 => "invalidCredentials",
            50 => "insufficientAccessRights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwillingToPerform",
            64 => "namingViolation",
            65 => "objectClassViolation",
            67 => "notAllowedOnRDN",
            68 => "entryAlreadyExists",
            69 => "objectClassModsProhibited",
            71 => "affectsMultipleDSAs",
            80 => "other",
            _ => "resultCode",
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// An attribute description (its options included) with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// As the directory writes it.
    pub description: &'a str,
    /// In no particular order.
    pub values: Vec<&'a [u8]>,
}

/// What the directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// SearchResultEntry.
    Entry(Vec<Attribute<'a>>),
    /// SearchResultReference: to be asked elsewhere.
    Reference,
    /// How an operation ended.
    Done {
        /// The code.
        code: ResultCode,
        /// diagnosticMessage: for people, as the directory words it.
        text: String,
    },
}

/// LDAPMessage (§4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// messageID; 0: nobody asked (§4.4), the directory is about to close the connection.
    pub id: u32,
    /// protocolOp.
    pub answer: Answer<'a>,
}

/// The length of the LDAPMessage that `bytes` begin with; none while not even that can be told.
pub fn message_len(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let read = match Header::read(bytes) {
        Err(BerError::Truncated) if bytes.len() < 16 => return Ok(None),
        other => other,
    };
    let total = read.and_then(|header| {
        let content = header.content_len.filter(|_| header.tag == SEQUENCE).ok_or(BerError::Length)?;
        header.len.checked_add(content).ok_or(BerError::Length)
    });
    total.map(Some).map_err(DecodeError::of("LDAPMessage"))
}

impl<'a> Message<'a> {
    /// Reads the one message that `bytes` are.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse(bytes).map_err(DecodeError::of("LDAPMessage"))
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, BerError> {
        let mut outer = Elements(bytes);
        let mut fields = Elements(outer.expect(SEQUENCE, "LDAPMessage")?);
        let id = number(fields.expect(INTEGER, "messageID")?)?;
        let (tag, content) = fields.next()?;
        let answer = match tag {
            tag::SEARCH_RESULT_ENTRY => Answer::Entry(entry(content)?),
            tag::SEARCH_RESULT_REFERENCE => Answer::Reference,
            tag::BIND_RESPONSE
            | tag::SEARCH_RESULT_DONE
            | tag::MODIFY_RESPONSE
            | tag::ADD_RESPONSE
            | tag::EXTENDED_RESPONSE => result(content)?,
            _ => return Err(BerError::Unexpected { wanted: "an answer" }),
        };
        Ok(Self { id, answer })
    }
}

/// LDAPResult; what follows its three fields (referral, and what an operation adds) is left alone.
fn result(content: &[u8]) -> Result<Answer<'_>, BerError> {
    let mut fields = Elements(content);
    let code = number(fields.expect(ENUMERATED, "resultCode")?)?;
    let _matched = fields.expect(OCTET_STRING, "matchedDN")?;
    let text = fields.expect(OCTET_STRING, "diagnosticMessage")?;
    Ok(Answer::Done { code: ResultCode(code), text: String::from_utf8_lossy(text).into_owned() })
}

const TOO_MANY: BerError = BerError::Value("an entry with more values than any CA's");

fn entry(content: &[u8]) -> Result<Vec<Attribute<'_>>, BerError> {
    let mut fields = Elements(content);
    let _name = fields.expect(OCTET_STRING, "objectName")?;
    let mut list = Elements(fields.expect(SEQUENCE, "attributes")?);
    let mut attributes = Vec::new();
    let mut room = MAX_VALUES;
    while !list.0.is_empty() {
        let mut attribute = Elements(list.expect(SEQUENCE, "PartialAttribute")?);
        let description = std::str::from_utf8(attribute.expect(OCTET_STRING, "type")?)
            .map_err(|_| BerError::Value("an attribute description that is no text"))?;
        let mut set = Elements(attribute.expect(SET, "vals")?);
        let mut values = Vec::new();
        // An attribute without values takes room, too.
        room = room.checked_sub(1).ok_or(TOO_MANY)?;
        while !set.0.is_empty() {
            room = room.checked_sub(1).ok_or(TOO_MANY)?;
            values.push(set.expect(OCTET_STRING, "value")?);
        }
        attributes.push(Attribute { description, values });
    }
    Ok(attributes)
}

/// An unsigned INTEGER or ENUMERATED below 2^31.
fn number(content: &[u8]) -> Result<u32, BerError> {
    const WRONG: BerError = BerError::Value("a number out of its range");
    if content.is_empty() || content.len() > 4 {
        return Err(WRONG);
    }
    let value = content.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    if content.first().is_some_and(|byte| byte & 0x80 != 0) { Err(WRONG) } else { Ok(value) }
}

/// The elements of BER as LDAP has it: definite lengths, in whatever form.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Identifier octet and content of the next one.
    fn next(&mut self) -> Result<(u8, &'a [u8]), BerError> {
        let header = Header::read(self.0)?;
        let end = header.content_len.and_then(|content| header.len.checked_add(content));
        let (element, rest) =
            self.0.split_at_checked(end.ok_or(BerError::Length)?).ok_or(BerError::Truncated)?;
        self.0 = rest;
        Ok((header.tag, element.get(header.len..).unwrap_or_default()))
    }

    /// The content of the next one, which must have the identifier octet `tag`.
    fn expect(&mut self, tag: u8, wanted: &'static str) -> Result<&'a [u8], BerError> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(BerError::Unexpected { wanted }),
        }
    }
}
