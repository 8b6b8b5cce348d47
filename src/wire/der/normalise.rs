//! BER to DER, bounded.
//!
//! Apple devices and everything built on BouncyCastle (jscep, Android agents, ChromeOS's connector) send CMS in BER:
//! indefinite lengths at any level, strings in segments. The parsers behind this take DER only.
//!
//! Three passes without recursion, each linear in the input: [`scan`] finds the elements and checks them, [`measure`] adds up
//! the new lengths from the leaves to the root, [`emit`] writes. Elements without anything to rewrite inside are copied as
//! they came; the order in a SET is never changed, because signatures were made over it.

use std::borrow::Cow;

use super::{
    BerError,
    reader::Header,
    writer::{length_len, push_length},
};

/// Longest message that is read, in bytes. Real ones have 2 to 16 KiB; a CRL or a long chain in a CertRep is the extreme.
pub const MAX_INPUT: usize = 256 * 1024;
/// Deepest nesting of elements. A certificate inside a SignedData reaches 14.
pub const MAX_DEPTH: usize = 32;
/// Most elements, segments of strings included.
pub const MAX_ELEMENTS: usize = 8192;

/// Rewrites BER as DER in what its readers rely on: every length definite and minimal, every string of a universal type
/// primitive. DER passes through untouched.
///
/// It is not a full canonicaliser: the order in SETs, DEFAULT values and the values of primitive elements stay as they are. A
/// context-specific tag does not say whether a string is under it; whoever knows the structure joins those segments.
/// What it returns passes through it unchanged.
pub fn normalise(input: &[u8]) -> Result<Cow<'_, [u8]>, BerError> {
    if input.len() > MAX_INPUT {
        return Err(BerError::TooLong);
    }
    let mut nodes = scan(input)?;
    if nodes.first().is_some_and(|root| !root.rewrite) {
        return Ok(Cow::Borrowed(input));
    }
    let len = measure(&mut nodes);
    // Replacing an indefinite length by a long definite one can add an octet per level.
    if len > MAX_INPUT {
        return Err(BerError::TooLong);
    }
    Ok(Cow::Owned(emit(input, &nodes, len)))
}

/// What an element is to the element that contains it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// An element that stays one.
    Whole,
    /// A constructed string: becomes primitive.
    String {
        /// For a BIT STRING: the unused bits of its last segment so far.
        unused_bits: Option<u8>,
    },
    /// A piece of a constructed string: only its content stays.
    Segment,
}

/// One element, in the order of the input (a parent before its children).
struct Node {
    start: usize,
    header: Header,
    end: usize,
    parent: Option<usize>,
    role: Role,
    /// Whether this or anything inside needs rewriting.
    rewrite: bool,
    /// Octets of the new content; known after [`measure`].
    new_len: usize,
}

impl Node {
    fn content_start(&self) -> usize {
        self.start + self.header.len
    }

    /// Where the octets begin that a primitive segment adds to its string: a BIT STRING's segment starts with a count.
    fn segment_start(&self) -> usize {
        self.content_start() + usize::from(self.header.tag == BIT_STRING)
    }

    /// Octets that this adds to the new content of its parent.
    fn contribution(&self) -> usize {
        match self.role {
            Role::Segment => self.new_len,
            _ if self.rewrite => self.header.tag_len + length_len(self.new_len) + self.new_len,
            _ => self.end - self.start,
        }
    }
}

const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;

/// The universal string and time types: those that BER may cut into segments (X.690 §8.6, §8.7, §8.23, §8.25).
fn is_string(tag: u8) -> bool {
    matches!(tag & !CONSTRUCTED, BIT_STRING | OCTET_STRING | 0x07 | 0x0c | 0x12..=0x1c | 0x1e)
}

/// A constructed element that is being read.
struct Open {
    node: usize,
    /// Where its content ends at the latest: its own end, or for an indefinite length that of what contains it.
    limit: usize,
    indefinite: bool,
    /// The outermost constructed string around its content.
    string: Option<usize>,
}

struct Scanner<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    open: Vec<Open>,
}

/// Finds every element, checks the syntax and marks what needs rewriting.
fn scan(input: &[u8]) -> Result<Vec<Node>, BerError> {
    let mut scanner = Scanner { input, nodes: Vec::with_capacity(input.len() / 16), open: Vec::new() };
    let mut position = 0;
    loop {
        position = scanner.step(position)?;
        while scanner.open.pop_if(|open| !open.indefinite && open.limit == position).is_some() {}
        if scanner.open.is_empty() {
            return if position == input.len() { Ok(scanner.nodes) } else { Err(BerError::TrailingBytes) };
        }
    }
}

impl Scanner<'_> {
    /// Reads the header at `position`, or the end of an indefinite length; returns where to go on.
    fn step(&mut self, position: usize) -> Result<usize, BerError> {
        let limit = self.open.last().map_or(self.input.len(), |open| open.limit);
        let header = Header::read(self.input.get(position..limit).ok_or(BerError::Truncated)?)?;
        if header.tag == 0 {
            return self.end_of_contents(position, header, limit);
        }
        if self.nodes.len() == MAX_ELEMENTS {
            return Err(BerError::TooManyElements);
        }
        let content = position + header.len;
        let end = match header.content_len {
            Some(len) => content.checked_add(len).filter(|end| *end <= limit).ok_or(BerError::Truncated)?,
            None if header.is_constructed() => limit,
            None => return Err(BerError::Length),
        };
        self.push(position, header, end)?;
        let has_content = header.content_len != Some(0);
        Ok(if header.is_constructed() && has_content { content } else { end })
    }

    fn end_of_contents(&mut self, position: usize, header: Header, limit: usize) -> Result<usize, BerError> {
        let open = self.open.pop().filter(|open| open.indefinite).ok_or(BerError::EndOfContents)?;
        let end = position + 2;
        if header.content_len != Some(0) || header.len != 2 || end > limit {
            return Err(BerError::EndOfContents);
        }
        if let Some(node) = self.nodes.get_mut(open.node) {
            node.end = end;
        }
        Ok(end)
    }

    fn push(&mut self, start: usize, header: Header, end: usize) -> Result<(), BerError> {
        let parent = self.open.last().map(|open| open.node);
        let string = self.open.last().and_then(|open| open.string);
        let index = self.nodes.len();
        let constructed_string = header.is_constructed() && is_string(header.tag);
        let role = match string {
            Some(string) => self.segment(string, start, header, end)?,
            None if constructed_string => Role::String { unused_bits: None },
            None => Role::Whole,
        };
        let rewrite = role != Role::Whole || header.content_len.is_none() || !header.minimal;
        self.nodes.push(Node { start, header, end, parent, role, rewrite, new_len: 0 });
        if rewrite {
            self.mark_ancestors(parent);
        }
        if header.is_constructed() && header.content_len != Some(0) {
            if self.open.len() + 1 == MAX_DEPTH {
                return Err(BerError::TooDeep);
            }
            let string = string.or(constructed_string.then_some(index));
            self.open.push(Open {
                node: index,
                limit: end,
                indefinite: header.content_len.is_none(),
                string,
            });
        }
        Ok(())
    }

    /// Checks that a string may have this segment.
    fn segment(&mut self, string: usize, start: usize, header: Header, end: usize) -> Result<Role, BerError> {
        let string = self.nodes.get_mut(string).ok_or(BerError::StringSegment)?;
        let whole = string.header.tag & !CONSTRUCTED;
        let piece = header.tag & !CONSTRUCTED;
        // X.690 §8.23: a character string is cut as if it were an OCTET STRING; some encoders repeat its own tag.
        if piece != whole && (piece != OCTET_STRING || whole == BIT_STRING) {
            return Err(BerError::StringSegment);
        }
        if piece == BIT_STRING && !header.is_constructed() {
            let Role::String { unused_bits } = &mut string.role else { return Err(BerError::StringSegment) };
            let first = self.input.get(start + header.len..end).and_then(<[u8]>::first);
            // X.690 §8.6.4: only the last segment may have unused bits.
            match (*unused_bits, first) {
                (None | Some(0), Some(unused @ 0..=7)) => *unused_bits = Some(*unused),
                _ => return Err(BerError::StringSegment),
            }
        }
        Ok(Role::Segment)
    }

    /// Every element around one that is rewritten is rewritten. Stops at the first that is marked, so that all calls
    /// together touch each element once.
    fn mark_ancestors(&mut self, mut parent: Option<usize>) {
        while let Some(node) = parent.and_then(|index| self.nodes.get_mut(index)).filter(|node| !node.rewrite)
        {
            node.rewrite = true;
            parent = node.parent;
        }
    }
}

/// Computes the new lengths, children before parents; returns the length of the whole.
fn measure(nodes: &mut [Node]) -> usize {
    let mut total = 0;
    for index in (0..nodes.len()).rev() {
        let Some(node) = nodes.get_mut(index) else { continue };
        match node.role {
            Role::Segment if !node.header.is_constructed() => node.new_len = node.end - node.segment_start(),
            Role::Whole if !node.header.is_constructed() => node.new_len = node.end - node.content_start(),
            // The octet that counts the unused bits.
            Role::String { .. } if is_bits(node) => node.new_len += 1,
            _ => {}
        }
        let contribution = node.contribution();
        match node.parent {
            Some(parent) => {
                if let Some(parent) = nodes.get_mut(parent) {
                    parent.new_len += contribution;
                }
            }
            None => total = contribution,
        }
    }
    total
}

fn is_bits(node: &Node) -> bool {
    node.header.tag & !CONSTRUCTED == BIT_STRING
}

fn emit(input: &[u8], nodes: &[Node], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let copy = |from: usize, to: usize| input.get(from..to).unwrap_or_default();
    let mut copied_to = 0;
    for node in nodes {
        if node.start < copied_to {
            continue;
        }
        match node.role {
            Role::Whole if !node.rewrite => {
                out.extend_from_slice(copy(node.start, node.end));
                copied_to = node.end;
            }
            Role::Whole => {
                out.extend_from_slice(copy(node.start, node.start + node.header.tag_len));
                push_length(&mut out, node.new_len);
                if !node.header.is_constructed() {
                    out.extend_from_slice(copy(node.content_start(), node.end));
                }
            }
            Role::String { unused_bits } => {
                out.push(node.header.tag & !CONSTRUCTED);
                push_length(&mut out, node.new_len);
                if is_bits(node) {
                    out.push(unused_bits.unwrap_or(0));
                }
            }
            Role::Segment if node.header.is_constructed() => {}
            Role::Segment => out.extend_from_slice(copy(node.segment_start(), node.end)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(input: &[u8]) -> Vec<u8> {
        normalise(input).unwrap().into_owned()
    }

    #[test]
    fn der_is_borrowed() {
        let input = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0xff];
        assert!(matches!(normalise(&input), Ok(Cow::Borrowed(same)) if same == input));
    }

    #[test]
    fn unsorted_sets_stay_as_received() {
        let input = [0x30, 0x80, 0x31, 0x06, 0x04, 0x01, 9, 0x02, 0x01, 1, 0, 0];
        assert_eq!(der(&input), [0x30, 0x08, 0x31, 0x06, 0x04, 0x01, 9, 0x02, 0x01, 1]);
    }

    #[test]
    fn indefinite_lengths_become_definite() {
        assert_eq!(der(&[0x30, 0x80, 0x30, 0x80, 0x05, 0x00, 0, 0, 0, 0]), [0x30, 4, 0x30, 2, 5, 0]);
        assert_eq!(der(&[0x30, 0x80, 0, 0]), [0x30, 0]);
        assert_eq!(der(&[0xa0, 0x80, 0x04, 1, 7, 0, 0]), [0xa0, 3, 4, 1, 7]);
    }

    #[test]
    fn long_lengths_become_minimal() {
        assert_eq!(der(&[0x04, 0x81, 1, 7]), [4, 1, 7]);
        assert_eq!(der(&[0x30, 0x83, 0, 0, 3, 4, 1, 7]), [0x30, 3, 4, 1, 7]);
        assert_eq!(der(&[0x30, 0x81, 0]), [0x30, 0]);
    }

    #[test]
    fn segments_are_joined() {
        assert_eq!(der(&[0x24, 0x80, 4, 1, 1, 0x24, 3, 4, 1, 2, 4, 0, 0, 0]), [4, 2, 1, 2]);
        assert_eq!(der(&[0x24, 0]), [4, 0]);
        assert_eq!(der(&[0x33, 7, 4, 1, b'a', 0x13, 2, b'b', b'c']), [0x13, 3, b'a', b'b', b'c']);
        assert_eq!(der(&[0x24, 0x81, 4, 4, 0x81, 1, 7]), [4, 1, 7]);
    }

    #[test]
    fn bit_segments_keep_the_last_count_of_unused_bits() {
        assert_eq!(der(&[0x23, 8, 3, 2, 0, 0xff, 3, 2, 4, 0xf0]), [3, 3, 4, 0xff, 0xf0]);
        assert_eq!(der(&[0x23, 0]), [3, 1, 0]);
        assert_eq!(normalise(&[0x23, 8, 3, 2, 4, 0xf0, 3, 2, 0, 0xff]), Err(BerError::StringSegment));
        assert_eq!(normalise(&[0x23, 4, 3, 2, 8, 0]), Err(BerError::StringSegment));
        assert_eq!(normalise(&[0x23, 2, 3, 0]), Err(BerError::StringSegment));
    }

    #[test]
    fn rejects_foreign_segments() {
        assert_eq!(normalise(&[0x24, 3, 2, 1, 7]), Err(BerError::StringSegment));
        assert_eq!(normalise(&[0x24, 4, 0x30, 2, 5, 0]), Err(BerError::StringSegment));
        assert_eq!(normalise(&[0x23, 3, 4, 1, 7]), Err(BerError::StringSegment));
    }

    #[test]
    fn high_tag_numbers_are_kept() {
        assert_eq!(der(&[0xbf, 0x87, 0x68, 0x80, 5, 0, 0, 0]), [0xbf, 0x87, 0x68, 2, 5, 0]);
        assert_eq!(normalise(&[0xbf, 0x80, 0x68, 0]), Err(BerError::Tag));
        assert_eq!(normalise(&[0xbf, 0x1e, 0]), Err(BerError::Tag));
        assert_eq!(normalise(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]), Err(BerError::Tag));
        assert_eq!(normalise(&[0xbf, 0xff]), Err(BerError::Truncated));
    }

    #[test]
    fn rejects_what_ends_too_early() {
        for input in
            [&[][..], &[0x30], &[0x30, 2, 5], &[0x30, 0x80], &[0x30, 0x80, 5, 0, 0], &[0x30, 0x82, 1]]
        {
            assert_eq!(normalise(input), Err(BerError::Truncated), "{input:?}");
        }
    }

    #[test]
    fn rejects_an_element_longer_than_its_parent() {
        assert_eq!(normalise(&[0x30, 3, 4, 2, 1, 1]), Err(BerError::Truncated));
        assert_eq!(normalise(&[0x30, 4, 0x30, 0x80, 5, 0, 0, 0]), Err(BerError::Truncated));
    }

    #[test]
    fn rejects_bytes_after_the_end() {
        assert_eq!(normalise(&[5, 0, 0]), Err(BerError::TrailingBytes));
        assert_eq!(normalise(&[0x30, 0x80, 0, 0, 0, 0]), Err(BerError::TrailingBytes));
    }

    #[test]
    fn rejects_misplaced_end_of_contents() {
        assert_eq!(normalise(&[0, 0]), Err(BerError::EndOfContents));
        assert_eq!(normalise(&[0x30, 2, 0, 0]), Err(BerError::EndOfContents));
        assert_eq!(normalise(&[0x30, 0x80, 0, 1, 0, 0, 0]), Err(BerError::EndOfContents));
        assert_eq!(normalise(&[0x30, 0x80, 0, 0x81, 0]), Err(BerError::EndOfContents));
    }

    #[test]
    fn rejects_reserved_and_primitive_indefinite_lengths() {
        assert_eq!(normalise(&[4, 0x80, 0, 0]), Err(BerError::Length));
        assert_eq!(normalise(&[4, 0xff, 0]), Err(BerError::Length));
    }

    #[test]
    fn rejects_what_exceeds_a_limit() {
        assert_eq!(normalise(&vec![0x30; MAX_INPUT + 1]), Err(BerError::TooLong));
        assert_eq!(normalise(&[0x30, 0x80].repeat(100_000)), Err(BerError::TooDeep));
        let mut many = vec![0x30, 0x80];
        many.extend([5, 0].repeat(MAX_ELEMENTS));
        many.extend([0, 0]);
        assert_eq!(normalise(&many), Err(BerError::TooManyElements));
    }

    #[test]
    fn rejects_what_grows_beyond_the_limit() {
        // Twenty indefinite levels take four octets each; as definite ones they take five.
        let content = MAX_INPUT - 20 * 4 - 5;
        let mut grows = [0x30, 0x80].repeat(20);
        grows.extend(definite(OCTET_STRING, &vec![7; content]));
        grows.extend([0; 40]);
        assert_eq!(grows.len(), MAX_INPUT);
        assert_eq!(normalise(&grows).err(), Some(BerError::TooLong));
    }

    #[test]
    fn accepts_the_deepest_allowed_nesting() {
        let nested = |levels| {
            let mut input = [0x30, 0x80].repeat(levels);
            input.extend([0, 0].repeat(levels));
            input
        };
        assert!(normalise(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(normalise(&nested(MAX_DEPTH)), Err(BerError::TooDeep));
    }

    /// An element of DER, and how to disguise it as BER.
    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(u8, Vec<u8>, Disguise),
        Branch(u8, Vec<Tree>, Disguise),
    }

    #[derive(Clone, Copy, Debug)]
    enum Disguise {
        None,
        LongLength,
        Segments,
    }

    fn disguise() -> impl Strategy<Value = Disguise> {
        prop_oneof![Just(Disguise::None), Just(Disguise::LongLength), Just(Disguise::Segments)]
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let tag = prop_oneof![Just(0x02_u8), Just(0x04), Just(0x03), Just(0x0c), Just(0x80), Just(0x13)];
        let content = proptest::collection::vec(any::<u8>(), 0..200);
        let leaf = (tag, content, disguise()).prop_map(|(tag, mut content, how)| {
            if tag == BIT_STRING {
                content.insert(0, 3);
                content.push(0);
            }
            Tree::Leaf(tag, content, how)
        });
        leaf.prop_recursive(5, 40, 5, |inner| {
            let tag = prop_oneof![Just(0x30_u8), Just(0x31), Just(0xa0)];
            (tag, proptest::collection::vec(inner, 0..5), disguise())
                .prop_map(|(t, c, d)| Tree::Branch(t, c, d))
        })
    }

    fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
        super::super::writer::element(tag, &[content])
    }

    fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x80], content, &[0, 0]].concat()
    }

    fn long_length(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], &len[..], content].concat()
    }

    impl Tree {
        fn der(&self) -> Vec<u8> {
            match self {
                Self::Leaf(tag, content, _) => definite(*tag, content),
                Self::Branch(tag, children, _) => {
                    definite(*tag, &children.iter().flat_map(Self::der).collect::<Vec<_>>())
                }
            }
        }

        fn ber(&self) -> Vec<u8> {
            match self {
                Self::Leaf(tag, content, how) => match how {
                    Disguise::None => definite(*tag, content),
                    Disguise::Segments if *tag == BIT_STRING => {
                        let (head, tail) = content[1..].split_at((content.len() - 1) / 2);
                        let head = definite(BIT_STRING, &[&[0], head].concat());
                        let tail = definite(BIT_STRING, &[&content[..1], tail].concat());
                        indefinite(BIT_STRING | CONSTRUCTED, &[head, tail].concat())
                    }
                    Disguise::Segments if is_string(*tag) => {
                        let (head, tail) = content.split_at(content.len() / 2);
                        let inner = indefinite(0x24, &definite(OCTET_STRING, tail));
                        indefinite(tag | CONSTRUCTED, &[long_length(OCTET_STRING, head), inner].concat())
                    }
                    _ => long_length(*tag, content),
                },
                Self::Branch(tag, children, how) => {
                    let content = children.iter().flat_map(Self::ber).collect::<Vec<_>>();
                    match how {
                        Disguise::None => definite(*tag, &content),
                        Disguise::LongLength => long_length(*tag, &content),
                        Disguise::Segments => indefinite(*tag, &content),
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn disguised_der_comes_back(tree in tree()) {
            prop_assert_eq!(der(&tree.ber()), tree.der());
        }

        #[test]
        fn der_passes_untouched(tree in tree()) {
            let input = tree.der();
            prop_assert!(matches!(normalise(&input), Ok(Cow::Borrowed(_))));
        }

        #[test]
        fn damaged_input_is_an_error_or_stable(tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut input = tree.ber();
            let at = at.index(input.len());
            input[at] = byte;
            if let Ok(once) = normalise(&input) {
                prop_assert!(matches!(normalise(&once), Ok(Cow::Borrowed(_))));
            }
        }

        #[test]
        fn noise_is_an_error_or_stable(input in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(once) = normalise(&input) {
                prop_assert!(matches!(normalise(&once), Ok(Cow::Borrowed(_))));
            }
        }
    }
}
