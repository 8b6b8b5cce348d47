//! One page of a listing, as operators see it.

use serde::{Deserialize, Serialize};

/// A page of records and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// The records.
    pub items: Vec<T>,
    /// The key to ask for more with; none: this was the last page.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// Everything, in one page.
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// A page that was read with `limit`; a full one may have a successor, after the key of its last record.
    pub fn page(items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let next = if items.len() < limit { None } else { items.last().map(key) };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_page_has_a_successor() {
        assert_eq!(Listing::page(vec![1, 2], 2, ToString::to_string).next.as_deref(), Some("2"));
        assert_eq!(Listing::page(vec![1, 2], 3, ToString::to_string).next, None);
        assert_eq!(Listing::page(Vec::<u8>::new(), 0, ToString::to_string).next, None);
    }
}
