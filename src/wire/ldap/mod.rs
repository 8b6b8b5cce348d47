//! LDAP (RFC 4511): as much of it as publishing in a directory takes. Simple bind, StartTLS, reading one entry, replacing attributes of it,
//! adding it.
//!
//! What comes in is whatever answers on a port. It is read without recursion and without a copy, and what is not LDAP is an error, never a
//! panic: the process that reads it signs for a CA. Lengths may be longer than need be, as Active Directory writes them (§5.1 forbids
//! only indefinite ones).

mod answer;
mod request;

pub use answer::{Answer, Attribute, Message, ResultCode, message_len};
pub use request::Operation;

/// LDAPMessage and what is in it (RFC 4511 §4): identifier octets.
mod tag {
    /// `[APPLICATION number]`, constructed.
    const fn application(number: u8) -> u8 {
        0x60 | number
    }

    pub(super) const BIND_REQUEST: u8 = application(0);
    pub(super) const BIND_RESPONSE: u8 = application(1);
    /// Primitive.
    pub(super) const UNBIND_REQUEST: u8 = 0x42;
    pub(super) const SEARCH_REQUEST: u8 = application(3);
    pub(super) const SEARCH_RESULT_ENTRY: u8 = application(4);
    pub(super) const SEARCH_RESULT_DONE: u8 = application(5);
    pub(super) const SEARCH_RESULT_REFERENCE: u8 = application(19);
    pub(super) const MODIFY_REQUEST: u8 = application(6);
    pub(super) const MODIFY_RESPONSE: u8 = application(7);
    pub(super) const ADD_REQUEST: u8 = application(8);
    pub(super) const ADD_RESPONSE: u8 = application(9);
    pub(super) const EXTENDED_REQUEST: u8 = application(23);
    pub(super) const EXTENDED_RESPONSE: u8 = application(24);
}

#[cfg(test)]
mod tests;
