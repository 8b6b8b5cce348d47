//! One way to hash several fields into one digest.

use crate::types::Fingerprint;

/// SHA-256 over `label` and `parts`, each preceded by its length as eight big-endian bytes, so that no two
/// different lists of parts hash alike and no digest made for one purpose (`label`) passes for another.
pub(super) fn digest_of(label: &str, parts: &[&[u8]]) -> Fingerprint {
    let mut bytes = Vec::new();
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Fingerprint::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_boundary_changes_the_digest() {
        assert_ne!(digest_of("x", &[b"ab", b"c"]), digest_of("x", &[b"a", b"bc"]));
        assert_ne!(digest_of("x", &[b"ab"]), digest_of("xa", &[b"b"]));
        assert_ne!(digest_of("x", &[]), digest_of("x", &[b""]));
    }
}
