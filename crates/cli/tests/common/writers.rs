//! Command lines beside an image `a` of 1 MiB that another program holds, and a raw file `r`.

/// Each writes to the image, and is refused.
pub(crate) const WRITERS: [&str; 14] = [
    "amend -o lazy_refcounts=on a",
    "bench -w -c 1 a",
    "bitmap --add a b",
    "check -r all a",
    "commit a",
    "convert -O qcow2 r a",
    "convert -n -O qcow2 r a",
    "create -f qcow2 a 1M",
    "create -f raw a 1M",
    "dd if=r of=a",
    "rebase -u -b r -F raw a",
    "resize a 2M",
    "snapshot -c s a",
    "io -c write a",
];

/// Each reads it without looking at locks.
pub(crate) const SHARERS: [&str; 5] =
    ["info -U a", "map -U a", "measure -U -O qcow2 a", "check -U a", "compare -U a r"];
