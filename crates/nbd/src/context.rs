//! Metadata contexts: what can be asked about ranges, and queries for them.

/// Something that can be asked about ranges of an export.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    /// `base:allocation`: holes and zeros, by [`crate::numbers::allocation`].
    Allocation,
    /// `qemu:allocation-depth`: in which layer of a chain a range is held, from 1; 0 in none.
    AllocationDepth,
    /// `qemu:dirty-bitmap:NAME`: 1 where the bitmap is dirty.
    DirtyBitmap(String),
}

const ALLOCATION: &str = "base:allocation";
const ALLOCATION_DEPTH: &str = "qemu:allocation-depth";
const DIRTY_BITMAP: &str = "qemu:dirty-bitmap:";

impl Context {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Allocation => ALLOCATION.to_owned(),
            Self::AllocationDepth => ALLOCATION_DEPTH.to_owned(),
            Self::DirtyBitmap(name) => format!("{DIRTY_BITMAP}{name}"),
        }
    }

    /// Whether a query means this context. A query that is a namespace, or the namespace of bitmaps,
    /// means all in it where contexts are `listed`, and nothing where they are chosen.
    #[must_use]
    pub fn answers(&self, query: &[u8], listed: bool) -> bool {
        let name = self.name();
        if name.as_bytes() == query {
            // A bitmap without a name cannot be chosen by the word for all of them.
            return query != DIRTY_BITMAP.as_bytes() || listed;
        }
        let is_space = [b"base:".as_slice(), b"qemu:", DIRTY_BITMAP.as_bytes()].contains(&query);
        listed && is_space && name.as_bytes().starts_with(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_listed_and_not_chosen() {
        let all =
            [Context::Allocation, Context::AllocationDepth, Context::DirtyBitmap("b".to_owned())];
        let found = |query: &str, listed| -> Vec<usize> {
            (0..all.len()).filter(|at| all[*at].answers(query.as_bytes(), listed)).collect()
        };
        assert_eq!(found("base:", true), [0]);
        assert_eq!(found("qemu:", true), [1, 2]);
        assert_eq!(found("qemu:dirty-bitmap:", true), [2]);
        assert_eq!(found("qemu:dirty-bitmap:b", false), [2]);
        assert_eq!(found("base:allocation", false), [0]);
        for nothing in ["qemu:", "base:", "qemu:dirty-bitmap:", "base:allocatio", "", "b"] {
            assert!(found(nothing, false).is_empty(), "{nothing}");
        }
        assert!(found("base:alloc", true).is_empty());
    }
}
