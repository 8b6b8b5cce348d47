//! OCSP (RFC 6960, RFC 9654 nonces, RFC 9919 lightweight profile).

mod cert_id;
mod get;
mod plain;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use cert_id::{CertId, CertIdRef};
pub use get::GetBuffer;
pub use plain::PlainRequest;
pub use request::{OcspRequest, OcspRequestError, RequestSignature};
pub use response::{BasicResponse, CertStatus, ErrorStatus, OcspResponse, ResponseSpec, SingleResponse};
