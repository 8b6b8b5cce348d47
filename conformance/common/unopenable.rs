//! Messages whose envelope does not open, one for each reason, alike in everything that needs no private key to see: who signs,
//! which algorithms, how long.

use std::iter;

use certgate::{
    types::ContentCipher,
    wire::{scep::Envelope, x509::Certificate},
};

use super::{Client, MessageOptions, envelope, self_signed_like};

/// Why an envelope does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is for another key, under the same names.
    ForeignRecipient,
    /// The padding of RSA (PKCS#1 v1.5) is wrong.
    RsaPadding,
    /// The content key has another length than its cipher wants.
    KeyLength,
    /// The padding of the content is wrong.
    ContentPadding,
    /// It opens, and what is in it is no request.
    Content,
    /// It opens, and the signature of the request that is in it does not verify: what a change leaves behind that the padding survives.
    Signature,
}

/// Every reason.
pub const REASONS: [Reason; 6] = [
    Reason::ForeignRecipient,
    Reason::RsaPadding,
    Reason::KeyLength,
    Reason::ContentPadding,
    Reason::Content,
    Reason::Signature,
];

const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// A message of `client` to `recipient` that does not open for this reason; `payload` would be a good request.
pub fn message(client: &Client, recipient: &Certificate, payload: &[u8], reason: Reason) -> Vec<u8> {
    let options = MessageOptions::default();
    let sealed = |recipient: &Certificate, options: &MessageOptions, payload: &[u8]| {
        let content = envelope(payload, recipient, options);
        let opened = Envelope::from_ber(&content).unwrap();
        (content, opened.recipients[0].encrypted_key.clone())
    };
    let content = match reason {
        Reason::ForeignRecipient => {
            let foreign = self_signed_like(client.signer(), recipient);
            // One that is not greater than our modulus: that much is to be seen without a key, and no RSA is needed to refuse it.
            let below = |(content, wrapped): (Vec<u8>, Vec<u8>)| (wrapped[0] < 0x80).then_some(content);
            iter::repeat_with(|| sealed(&foreign, &options, payload)).find_map(below).unwrap()
        }
        Reason::RsaPadding => {
            let (content, wrapped) = sealed(recipient, &options, payload);
            // Smaller than the modulus, and of no padding in all likelihood.
            let broken: Vec<_> = [0].into_iter().chain(wrapped[1..].iter().map(|byte| byte ^ 0x5a)).collect();
            replaced(&content, &wrapped, &broken)
        }
        Reason::KeyLength => {
            let options = MessageOptions { cipher: ContentCipher::Aes256Cbc, ..options.clone() };
            replaced(&sealed(recipient, &options, payload).0, AES_256_CBC, AES_128_CBC)
        }
        Reason::ContentPadding => {
            let (mut content, _) = sealed(recipient, &options, payload);
            // The last byte of the block before the last is added to the last byte of the padding, which is at most 16.
            let at = content.len() - 17;
            content[at] ^= 0x80;
            content
        }
        Reason::Content => sealed(recipient, &options, &vec![0x5a; payload.len()]).0,
        Reason::Signature => {
            let mut payload = payload.to_vec();
            // The last byte of the signature.
            *payload.last_mut().unwrap() ^= 1;
            sealed(recipient, &options, &payload).0
        }
    };
    client.sign_message(&options, content)
}

/// `whole` with `part`, which is in it once, replaced by something as long.
fn replaced(whole: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let places: Vec<_> = (0..=whole.len() - part.len()).filter(|at| whole[*at..].starts_with(part)).collect();
    let [at] = places[..] else { panic!("it is there {} times", places.len()) };
    [&whole[..at], by, &whole[at + part.len()..]].concat()
}
