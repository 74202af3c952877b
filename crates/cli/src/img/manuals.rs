//! Operands and examples of the commands.

use crate::manual::Manual;

const IMAGE: (&str, &str) = ("FILENAME", "the image: a path, or the address of an export");
const NONE: Manual = Manual { forms: &[], operands: &[], notes: &[], examples: &[] };

pub(super) const AMEND: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        ("amend --options lazy_refcounts=on disk.qcow2", "switch lazy refcounts on"),
        ("amend --options compat=0.10 disk.qcow2", "make it readable for old programs"),
        ("amend --options help --format qcow2", "list what can be changed"),
    ],
    ..NONE
};

pub(super) const BENCH: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    notes: &[
        "Each request at a time is made by a thread, of which there are at most 256. Behind the \
              end of the disk requests go on at its start.",
    ],
    examples: &[
        ("bench --count 100000 disk.qcow2", "read 4 KiB a hundred thousand times"),
        (
            "bench --write --pattern 1 --flush-interval 64 scratch.qcow2",
            "write, with flushes between",
        ),
    ],
};

pub(super) const BITMAP: Manual = Manual {
    forms: &["FILENAME BITMAP"],
    operands: &[IMAGE, ("BITMAP", "the name of the dirty bitmap")],
    notes: &["Several actions are done in their order, up to the first that fails."],
    examples: &[
        ("bitmap --add --granularity 64k disk.qcow2 daily", "record from now on what is written"),
        ("bitmap --merge daily disk.qcow2 weekly", "add what one bitmap has to another"),
        ("bitmap --remove disk.qcow2 daily", "remove a bitmap"),
    ],
};

pub(super) const CHECK: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    notes: &[
        "The exit status is 0 if the image is consistent, 1 if it was not checked, 2 if it is \
              corrupt, 3 if clusters are leaked, 63 if there is no check for its format.",
    ],
    examples: &[
        ("check disk.qcow2", "look at all tables, change nothing"),
        ("check --repair leaks disk.qcow2", "free clusters that nothing uses"),
        ("check --repair all --dry-run disk.qcow2", "tell what a repair would write"),
        ("check --output json disk.qcow2", "the result for a program"),
    ],
};

pub(super) const COMMIT: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        ("commit overlay.qcow2", "write what the image holds into its backing file, and empty it"),
        ("commit --drop overlay.qcow2", "the same without emptying it"),
        ("commit --base base.qcow2 top.qcow2", "write into a backing file further down"),
    ],
    ..NONE
};

pub(super) const COMPARE: Manual = Manual {
    forms: &["FILENAME1 FILENAME2"],
    operands: &[("FILENAME1", "an image"), ("FILENAME2", "another one")],
    notes: &[
        "The exit status is 0 if the images are identical, 1 if they differ or the command line \
              is wrong, 2 if one cannot be opened, 3 if what is allocated cannot be told, 4 if one \
              cannot be read.",
    ],
    examples: &[
        ("compare disk.qcow2 copy.raw", "compare what a guest reads"),
        ("compare --strict a.qcow2 b.qcow2", "compare sizes and allocation too"),
    ],
};

pub(super) const CONVERT: Manual = Manual {
    forms: &["FILENAME [FILENAME2...] OUTPUT_FILENAME"],
    operands: &[
        (
            "FILENAME",
            "the image that is copied; several become one disk, each behind the one before; - is \
             standard input",
        ),
        ("OUTPUT_FILENAME", "the new image; - is standard output"),
    ],
    notes: &[
        "A new image is made under a name of its own beside OUTPUT_FILENAME and takes that name when \
         it is complete. Until then a file of that name stays as it is. Devices, exports, targets of \
         --no-create and those with a data file are written where they are.",
        "Standard output takes raw and qcow2 images in one pass: a qcow2 image is outlined first by \
         what is allocated in the sources. A pipe as standard input holds a raw disk, which goes into \
         a file of any format or as it is to standard output; a file as standard input is like any \
         other.",
    ],
    examples: &[
        ("convert --target-format qcow2 disk.raw disk.qcow2", "make a qcow2 image of a raw disk"),
        (
            "convert --compress --target-format qcow2 --parallel 8 disk.qcow2 small.qcow2",
            "a compressed copy",
        ),
        (
            "convert --target-format qcow2 --backing base.qcow2 --backing-format qcow2 top.qcow2 new.qcow2",
            "copy only what differs from the backing file",
        ),
        (
            "convert --target-format qcow2 disk.raw - | ssh host 'cat > disk.qcow2'",
            "write an image where no file is",
        ),
    ],
};

pub(super) const CREATE: Manual = Manual {
    forms: &["FILENAME [SIZE]"],
    operands: &[
        ("FILENAME", "the new image"),
        (
            "SIZE",
            "bytes, or a number with k, M, G, T, P or E; the default is that of the backing file",
        ),
    ],
    notes: &["A file of that name stays as it is until the new image is complete."],
    examples: &[
        ("create --format qcow2 disk.qcow2 20G", "a disk of 20 GiB that takes no space yet"),
        (
            "create --format qcow2 --backing base.qcow2 --backing-format qcow2 overlay.qcow2",
            "an overlay as large as its backing file",
        ),
        (
            "create --format qcow2 --options cluster_size=2M,preallocation=metadata disk.qcow2 1T",
            "with options of the format",
        ),
        ("create --format qcow2 --options help", "list the options of a format"),
    ],
};

pub(super) const DD: Manual = Manual {
    forms: &["[bs=SIZE] [count=N] [skip=N] if=INPUT of=OUTPUT"],
    operands: &[
        ("if=INPUT", "the image that is read"),
        ("of=OUTPUT", "the new image"),
        ("bs=SIZE", "bytes of a block (512)"),
        ("count=N", "blocks from the start of the input on, those that are skipped among them"),
        ("skip=N", "blocks that are left out"),
    ],
    notes: &["A file of that name stays as it is until the new image is complete."],
    examples: &[
        ("dd bs=1M count=1 if=disk.qcow2 of=start.raw", "the first MiB of a disk"),
        (
            "dd --output-format qcow2 bs=1M skip=1 if=disk.raw of=rest.qcow2",
            "all but the first MiB, as qcow2",
        ),
    ],
};

pub(super) const INFO: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        ("info disk.qcow2", "format, sizes, snapshots and what else there is"),
        ("info --backing-chain overlay.qcow2", "the same of its backing files"),
        ("info --output json disk.qcow2", "the same for a program"),
    ],
    ..NONE
};

pub(super) const MAP: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        ("map disk.qcow2", "ranges with data, and where they are"),
        (
            "map --output json --start-offset 1G --max-length 1M disk.qcow2",
            "a part, with all states",
        ),
    ],
    ..NONE
};

pub(super) const MEASURE: Manual = Manual {
    forms: &["FILENAME", "--size SIZE"],
    operands: &[("FILENAME", "the image that would be converted")],
    examples: &[
        ("measure --target-format qcow2 disk.raw", "what a qcow2 image of this disk would take"),
        ("measure --target-format qcow2 --size 1T", "what an empty disk would take"),
    ],
    ..NONE
};

pub(super) const REBASE: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        (
            "rebase --backing new-base.qcow2 --backing-format qcow2 overlay.qcow2",
            "another backing file; the content stays the same",
        ),
        ("rebase --backing '' overlay.qcow2", "copy all that is needed, and have none"),
        (
            "rebase --backing-unsafe --backing moved.qcow2 --backing-format qcow2 overlay.qcow2",
            "the backing file was moved",
        ),
    ],
    ..NONE
};

pub(super) const RESIZE: Manual = Manual {
    forms: &["FILENAME [+|-]SIZE"],
    operands: &[
        IMAGE,
        (
            "SIZE",
            "the new size, or with + or - the change: bytes, or a number with k, M, G, T, P or E",
        ),
    ],
    examples: &[
        ("resize disk.qcow2 +10G", "10 GiB more"),
        ("resize --shrink disk.qcow2 5G", "cut the disk; what is behind is lost"),
        ("resize --preallocation full disk.raw 20G", "grow, and take the space now"),
    ],
    ..NONE
};

pub(super) const SNAPSHOT: Manual = Manual {
    forms: &["FILENAME"],
    operands: &[IMAGE],
    examples: &[
        ("snapshot --create before-update disk.qcow2", "take a snapshot"),
        ("snapshot --list disk.qcow2", "list them"),
        ("snapshot --apply before-update disk.qcow2", "go back to it"),
        ("snapshot --delete before-update disk.qcow2", "delete it"),
    ],
    ..NONE
};
