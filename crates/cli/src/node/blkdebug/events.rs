//! The names of events.

use holstein::Event;

/// An event by the reference's name for it.
pub(super) type Name = &'static str;

/// Rules with this event are active from the start.
pub(super) const NONE: Name = "none";
/// A write to the node comes next.
pub(super) const PWRITEV: Name = "pwritev";
/// A write of zeroes to the node comes next.
pub(super) const PWRITEV_ZERO: Name = "pwritev_zero";
/// A write to the node is over.
pub(super) const PWRITEV_DONE: Name = "pwritev_done";
/// What surrounds a write that is not aligned: before and after it is read.
pub(super) const RMW_HEAD: (Name, Name) = ("pwritev_rmw_head", "pwritev_rmw_after_head");
/// The same for its end.
pub(super) const RMW_TAIL: (Name, Name) = ("pwritev_rmw_tail", "pwritev_rmw_after_tail");
/// Data that was read from a backing file is about to be kept.
pub(crate) const COR_WRITE: Name = "cor_write";

/// All names that a rule may give.
const NAMES: &[Name] = &[
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    RMW_HEAD.0,
    RMW_HEAD.1,
    RMW_TAIL.0,
    RMW_TAIL.1,
    PWRITEV,
    PWRITEV_ZERO,
    PWRITEV_DONE,
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    COR_WRITE,
    "cluster_alloc_space",
    NONE,
];

/// The event of that name, if there is one.
pub(super) fn named(name: &str) -> Option<Name> {
    NAMES.iter().find(|known| **known == name).copied()
}

/// The names under which rules know a step of the engine.
pub(super) fn names_of(event: Event) -> &'static [Name] {
    match event {
        Event::ReadData => &["read_aio"],
        Event::ReadBacking => &["read_backing_aio"],
        Event::ReadCompressed => &["read_compressed"],
        Event::WriteData => &["write_aio"],
        Event::WriteCompressed => &["write_compressed"],
        Event::CopyRead => &["cow_read"],
        Event::L2Load => &["l2_load"],
        Event::L2Update => &["l2_update"],
        Event::L2CopyRead => &["l2_alloc_cow_read"],
        Event::L2AllocWrite => &["l2_alloc_write"],
        Event::L1Update => &["l1_update"],
        Event::L1GrowAlloc => &["l1_grow_alloc_table"],
        Event::L1GrowWrite => &["l1_grow_write_table"],
        Event::L1GrowActivate => &["l1_grow_activate_table"],
        Event::RefcountTableLoad => &["reftable_load"],
        Event::RefcountBlockLoad => &["refblock_load"],
        Event::RefcountBlockUpdate => &["refblock_update_part"],
        Event::RefcountBlockAlloc => &["refblock_alloc"],
        Event::RefcountBlockAllocWrite => &["refblock_alloc_write"],
        Event::RefcountBlockHookUp => &["refblock_alloc_hookup"],
        // The table grows in one step here, so that the earliest of its events begins it.
        Event::RefcountGrowBlocks => &["reftable_grow", "refblock_alloc_write_blocks"],
        Event::RefcountGrowTable => &["refblock_alloc_write_table"],
        Event::RefcountGrowSwitch => &["refblock_alloc_switch_table"],
        Event::ClusterAlloc => &["cluster_alloc"],
        Event::ClusterFree => &["cluster_free"],
        Event::FlushToFile => &["flush_to_os"],
        Event::FlushToDisk => &["flush_to_disk"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_that_rules_may_give() {
        for event in [Event::ReadData, Event::L1Update, Event::RefcountGrowBlocks] {
            assert!(names_of(event).iter().all(|name| named(name).is_some()), "{event:?}");
        }
        assert_eq!(named("l2_loaded"), None);
    }
}
