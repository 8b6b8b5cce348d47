//! DER as a tree that can be changed and written again, also as BER: for messages that no well-behaved writer makes.

use crate::wire::der::{
    BerError,
    reader::{Element, OCTET_STRING, Reader},
    writer,
};

/// The constructed bit of an identifier octet.
const CONSTRUCTED: u8 = 0x20;

/// Octets of a segment of a constructed string; Apple's are about as long.
const SEGMENT: usize = 1000;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Primitive.
    Leaf { tag: u8, content: Vec<u8> },
    /// Constructed; `indefinite`: to be written with an indefinite length, which is BER and not DER.
    Branch { tag: u8, members: Vec<Node>, indefinite: bool },
}

impl Node {
    /// Reads DER, which certgate's own writers made.
    pub(super) fn read(der: &[u8]) -> Result<Self, BerError> {
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
    pub(super) fn write(&self) -> Vec<u8> {
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
    pub(super) fn at(&mut self, path: &[usize]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        self.members()?.get_mut(*first)?.at(rest)
    }

    /// The members of a constructed element.
    pub(super) fn members(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Branch { members, .. } => Some(members),
            Self::Leaf { .. } => None,
        }
    }

    /// The content of a primitive element.
    pub(super) fn content(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Leaf { content, .. } => Some(content),
            Self::Branch { .. } => None,
        }
    }

    /// Gives a constructed element an indefinite length; makes of a primitive string a constructed one in segments.
    pub(super) fn loosen(&mut self) {
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
