//! DER as a tree that can be changed and written again, also as BER: for messages that no well-behaved writer makes.

use super::key::ClientKey;
use crate::{
    app::failure::{Failure, Outcome},
    types::DigestAlgorithm,
    wire::{
        Unsigned,
        der::{
            BerError,
            reader::{Element, OCTET_STRING, Reader, SET},
            writer,
        },
    },
};

/// The constructed bit of an identifier octet.
const CONSTRUCTED: u8 = 0x20;

/// Octets of a segment of a constructed string; Apple's are about as long.
const SEGMENT: usize = 1000;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Node {
    /// Primitive.
    Leaf { tag: u8, content: Vec<u8> },
    /// Constructed; `indefinite`: to be written with an indefinite length, which is BER and not DER.
    Branch { tag: u8, members: Vec<Node>, indefinite: bool },
}

impl Node {
    /// Reads DER, which certgate's own writers made.
    pub(in crate::app) fn read(der: &[u8]) -> Result<Self, BerError> {
        Self::of(Element::only(der)?)
    }

    fn of(element: Element<'_>) -> Result<Self, BerError> {
        if element.tag & CONSTRUCTED == 0 {
            return Ok(Self::Leaf { tag: element.tag, content: element.content.to_vec() });
        }
        let members =
            Reader::new(element.content).map(|member| Self::of(member?)).collect::<Result<_, _>>()?;
        Ok(Self::Branch { tag: element.tag, members, indefinite: false })
    }

    /// DER, but for the lengths that are to be indefinite.
    pub(in crate::app) fn write(&self) -> Vec<u8> {
        match self {
            Self::Leaf { tag, content } => writer::element(*tag, &[content]),
            Self::Branch { tag, members, indefinite } => {
                let content: Vec<u8> = members.iter().flat_map(Self::write).collect();
                if *indefinite {
                    [&[*tag, 0x80][..], &content, &[0, 0]].concat()
                } else {
                    writer::element(*tag, &[&content])
                }
            }
        }
    }

    /// The element at `path`: indexes of members, from the outside.
    pub(in crate::app) fn at(&mut self, path: &[usize]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        self.members()?.get_mut(*first)?.at(rest)
    }

    /// The members of a constructed element.
    pub(in crate::app) fn members(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Branch { members, .. } => Some(members),
            Self::Leaf { .. } => None,
        }
    }

    /// The content of a primitive element.
    pub(in crate::app) fn content(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Leaf { content, .. } => Some(content),
            Self::Branch { .. } => None,
        }
    }

    /// Gives a constructed element an indefinite length; makes of a primitive string a constructed one in segments.
    pub(in crate::app) fn loosen(&mut self) {
        match self {
            Self::Branch { indefinite, .. } => *indefinite = true,
            Self::Leaf { tag, content } => {
                let segment = |part: &[u8]| Self::Leaf { tag: OCTET_STRING, content: part.to_vec() };
                *self = Self::Branch {
                    tag: *tag | CONSTRUCTED,
                    members: content.chunks(SEGMENT).map(segment).collect(),
                    indefinite: true,
                };
            }
        }
    }
}

/// Where things are in a message that certgate wrote: indexes of members.
pub(in crate::app) mod place {
    /// SignedData.encapContentInfo.
    pub(in crate::app) const CONTENT_INFO: &[usize] = &[1, 0, 2];
    /// eContent.
    pub(in crate::app) const CONTENT: &[usize] = &[1, 0, 2, 1, 0];
    /// SignerInfo.digestAlgorithm's object identifier.
    pub(in crate::app) const DIGEST_OID: &[usize] = &[1, 0, 4, 0, 2, 0];
    /// SignerInfo.signedAttrs.
    pub(in crate::app) const ATTRIBUTES: &[usize] = &[1, 0, 4, 0, 3];
    /// SignerInfo.signatureAlgorithm's object identifier.
    pub(in crate::app) const SIGNATURE_OID: &[usize] = &[1, 0, 4, 0, 4, 0];
    /// SignerInfo.signature.
    pub(in crate::app) const SIGNATURE: &[usize] = &[1, 0, 4, 0, 5];
    /// SignedData.
    pub(in crate::app) const SIGNED_DATA: &[usize] = &[1, 0];
    /// The index of `certificates` in SignedData.
    pub(in crate::app) const CERTIFICATES: usize = 3;
    /// EnvelopedData's first RecipientInfo.encryptedKey.
    pub(in crate::app) const ENCRYPTED_KEY: &[usize] = &[1, 0, 1, 0, 3];
    /// EncryptedContentInfo.
    pub(in crate::app) const ENCRYPTED_CONTENT_INFO: &[usize] = &[1, 0, 2];
    /// Its algorithm's object identifier.
    pub(in crate::app) const CIPHER_OID: &[usize] = &[1, 0, 2, 1, 0];
    /// Its initialisation vector.
    pub(in crate::app) const IV: &[usize] = &[1, 0, 2, 1, 1];
    /// encryptedContent.
    pub(in crate::app) const CIPHERTEXT: &[usize] = &[1, 0, 2, 2];
}

/// A message without the element that was to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has another shape than expected")]
pub(in crate::app) struct Misshapen;

/// `der` with a change made to it. `None` from `change`: the place is not there.
pub(in crate::app) fn changed(
    der: &[u8],
    change: impl FnOnce(&mut Node) -> Option<()>,
) -> Result<Vec<u8>, Misshapen> {
    let mut tree = Node::read(der).map_err(|_| Misshapen)?;
    change(&mut tree).ok_or(Misshapen)?;
    Ok(tree.write())
}

/// Replaces the content of the primitive element at `path`.
pub(in crate::app) fn set(tree: &mut Node, path: &[usize], content: &[u8]) -> Option<()> {
    *tree.at(path)?.content()? = content.to_vec();
    Some(())
}

/// `envelope` in BER as Apple and Bouncy Castle send it: indefinite lengths, the ciphertext in segments.
pub(in crate::app) fn loose_envelope(envelope: &[u8]) -> Result<Vec<u8>, Misshapen> {
    changed(envelope, |tree| {
        for path in [&[][..], &[1], &[1, 0], place::ENCRYPTED_CONTENT_INFO, place::CIPHERTEXT] {
            tree.at(path)?.loosen();
        }
        Some(())
    })
}

/// `message` in BER; its signed attributes and certificates stay DER, as RFC 5652 §5.3 asks.
pub(in crate::app) fn loose_message(message: &[u8]) -> Result<Vec<u8>, Misshapen> {
    changed(message, |tree| {
        for path in [&[][..], &[1], place::SIGNED_DATA, place::CONTENT_INFO, &[1, 0, 2, 1], place::CONTENT] {
            tree.at(path)?.loosen();
        }
        Some(())
    })
}

/// `message` with other signed attributes, or in another order, signed so by `key`.
pub(in crate::app) fn resigned(
    message: &[u8],
    key: &ClientKey,
    digest: DigestAlgorithm,
    change: impl FnOnce(&mut Vec<Node>),
) -> Outcome<Vec<u8>> {
    let mut tree = Node::read(message).map_err(Failure::error)?;
    let attributes = tree.at(place::ATTRIBUTES).and_then(Node::members).ok_or(Misshapen);
    let attributes = attributes.map_err(Failure::error)?;
    change(attributes);
    let to_be_signed = writer::element(SET, &[&attributes.iter().flat_map(Node::write).collect::<Vec<_>>()]);
    let algorithm = key.signature_with(digest);
    let unsigned = Unsigned::new(to_be_signed, algorithm, |signature| Ok(signature.to_vec()));
    let signature = key.finish(unsigned)?;
    set(&mut tree, place::SIGNATURE, &signature).ok_or(Misshapen).map_err(Failure::error)?;
    Ok(tree.write())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::der::normalise;

    fn sample() -> Vec<u8> {
        writer::sequence(&[&writer::unsigned(7), &writer::sequence(&[&writer::octets(&[9; 2500])])])
    }

    #[test]
    fn what_was_not_changed_is_written_as_it_was_read() {
        assert_eq!(Node::read(&sample()).unwrap().write(), sample());
    }

    #[test]
    fn loosened_elements_mean_the_same() {
        let mut node = Node::read(&sample()).unwrap();
        for path in [&[][..], &[1], &[1, 0]] {
            node.at(path).unwrap().loosen();
        }
        let ber = node.write();
        assert_eq!(ber[..2], [0x30, 0x80]);
        assert_eq!(normalise(&ber).unwrap(), sample());
    }

    #[test]
    fn a_path_that_leads_nowhere_is_none() {
        let mut node = Node::read(&sample()).unwrap();
        assert!(node.at(&[2]).is_none() && node.at(&[0, 0]).is_none());
    }
}
