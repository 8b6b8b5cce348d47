//! DER as a tree, and ways to spoil it: lengths stay right, so that readers get to the place that was spoilt.

use arbitrary::{Result, Unstructured};

/// Octets that a spoilt message may have at most: the limit of the responder, and a little more.
pub const MOST: usize = 260 * 1024;

const CONSTRUCTED: u8 = 0x20;

/// One element.
#[derive(Clone, Debug)]
pub enum Node {
    /// Primitive.
    Leaf(u8, Vec<u8>),
    /// Constructed; true: with an indefinite length.
    Branch(u8, Vec<Node>, bool),
}

impl Node {
    /// Reads DER as far as it goes.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (node, rest) = Self::split(der, 64)?;
        rest.is_empty().then_some(node)
    }

    fn split(der: &[u8], depth: usize) -> Option<(Self, &[u8])> {
        let (&tag, rest) = der.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            short @ 0..=0x7f => (usize::from(short), rest),
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if tag & CONSTRUCTED == 0 || depth == 0 {
            return Some((Self::Leaf(tag, content.to_vec()), rest));
        }
        let (mut members, mut left) = (Vec::new(), content);
        while !left.is_empty() {
            let Some((member, after)) = Self::split(left, depth - 1) else {
                return Some((Self::Leaf(tag, content.to_vec()), rest));
            };
            members.push(member);
            left = after;
        }
        Some((Self::Branch(tag, members, false), rest))
    }

    /// The octets.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf(tag, content) => {
                head(out, *tag, content.len());
                out.extend_from_slice(content);
            }
            Self::Branch(tag, members, indefinite) => {
                let mut content = Vec::new();
                for member in members {
                    if content.len() <= MOST {
                        member.write_to(&mut content);
                    }
                }
                if *indefinite {
                    out.extend_from_slice(&[*tag, 0x80]);
                    out.extend_from_slice(&content);
                    out.extend_from_slice(&[0, 0]);
                } else {
                    head(out, *tag, content.len());
                    out.extend_from_slice(&content);
                }
            }
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Leaf(..) => 0,
            Self::Branch(_, members, _) => members.iter().map(Self::count).sum(),
        }
    }

    /// The element with this number, in the order in which they are written.
    fn nth(&mut self, number: &mut usize) -> Option<&mut Self> {
        if *number == 0 {
            return Some(self);
        }
        *number -= 1;
        match self {
            Self::Leaf(..) => None,
            Self::Branch(_, members, _) => members.iter_mut().find_map(|member| member.nth(number)),
        }
    }

    /// Spoils one element.
    pub fn spoil(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let mut number = choices.int_in_range(0..=self.count() - 1)?;
        let Some(node) = self.nth(&mut number) else { return Ok(()) };
        let what: u8 = choices.int_in_range(0..=11)?;
        match (what, &mut *node) {
            (0, Self::Leaf(tag, _) | Self::Branch(tag, ..)) => *tag = choices.arbitrary()?,
            (1, Self::Leaf(_, content)) => content.clear(),
            (1, Self::Branch(_, members, _)) => members.clear(),
            (2, Self::Leaf(_, content)) => flip(content, choices)?,
            (3, Self::Leaf(_, content)) => *content = choices.arbitrary()?,
            (4, Self::Leaf(_, content)) => content.resize(choices.int_in_range(0..=MOST)?, 0xff),
            (5, Self::Leaf(tag, content)) => {
                // In segments, as BER has it.
                let size = choices.int_in_range(1..=64)?;
                let segments =
                    content.chunks(size).map(|piece| Self::Leaf(*tag & !CONSTRUCTED, piece.to_vec()));
                *node = Self::Branch(*tag | CONSTRUCTED, segments.collect(), choices.arbitrary()?);
            }
            (6, Self::Branch(_, members, _)) if !members.is_empty() => {
                let at = choices.int_in_range(0..=members.len() - 1)?;
                members.remove(at);
            }
            (7, Self::Branch(_, members, _)) if members.len() > 1 => {
                let (a, b) = (choices.choose_index(members.len())?, choices.choose_index(members.len())?);
                members.swap(a, b);
            }
            (8, Self::Branch(_, members, _)) if !members.is_empty() => {
                let copy = members[choices.choose_index(members.len())?].clone();
                let times = if choices.ratio(1, 8)? { 9000 } else { choices.int_in_range(1..=8)? };
                members.extend(std::iter::repeat_n(copy, times));
            }
            (9, Self::Branch(_, _, indefinite)) => *indefinite = true,
            (10, _) => {
                for _ in 0..choices.int_in_range(1..=40)? {
                    let inner = std::mem::replace(node, Self::Leaf(5, Vec::new()));
                    *node = Self::Branch(0x30, vec![inner], false);
                }
            }
            _ => {
                let content: Vec<u8> = choices.arbitrary()?;
                *node = Self::read(&content).unwrap_or(Self::Leaf(0x04, content));
            }
        }
        Ok(())
    }
}

fn flip(content: &mut [u8], choices: &mut Unstructured<'_>) -> Result<()> {
    if !content.is_empty() {
        let at = choices.choose_index(content.len())?;
        content[at] ^= choices.int_in_range(1..=255)?;
    }
    Ok(())
}

fn head(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    match u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes() {
        [0, 0, 0, short @ 0..=0x7f] => out.push(short),
        [0, 0, 0, one] => out.extend_from_slice(&[0x81, one]),
        [0, 0, two @ ..] => out.extend_from_slice(&[&[0x82][..], &two].concat()),
        [0, three @ ..] => out.extend_from_slice(&[&[0x83][..], &three].concat()),
        four => out.extend_from_slice(&[&[0x84][..], &four].concat()),
    }
}

/// `der` with a few elements spoilt; as it is where it is no DER.
pub fn spoilt(der: &[u8], times: usize, choices: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let Some(mut node) = Node::read(der) else { return Ok(der.to_vec()) };
    for _ in 0..times {
        node.spoil(choices)?;
        // What grows with each step grows beyond all bounds.
        if node.count() > 40_000 {
            break;
        }
    }
    Ok(node.write())
}
