#!/usr/bin/env bash
# Makes the first seeds of the fuzz targets with qemu-img 10: headers of many shapes, tables cut out of
# images, and small whole images. Fuzzing adds to them (`cargo xtask fuzz TARGET --keep`).
# usage: fuzz/make_seeds.sh   (QEMU_IMG and QEMU_IO may name the programs)
set -eu
img=${QEMU_IMG:-qemu-img} io=${QEMU_IO:-qemu-io}
corpus=$(cd "$(dirname "$0")" && pwd)/corpus
mkdir -p "$corpus"/{header,l2_entry,snapshot_table,bitmap_directory,open_and_read}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

number() { od -An -t "u$3" --endian=big -j "$2" -N "$3" "$1" | tr -d ' '; }
header() { head -c "${3:-512}" "$2" > "$corpus/header/$1"; }
cut_out() { dd if="$1" of="$2" bs=1 skip="$3" count="$4" status=none; }

create() { # name, options
    "$img" create -q -f qcow2 -o "$2" "$1" 1M
    "$io" -c 'write -P 1 0 1000' -c 'write -P 2 70000 5000' -c 'write -z 200000 4096' \
        -c 'discard 70144 1024' "$1" > /dev/null
}

for bits in 1 2 4 8 16 32 64; do
    create "r$bits" "cluster_size=512,refcount_bits=$bits"
    cp "r$bits" "$corpus/open_and_read/refcount_$bits"
done
create v2 cluster_size=512,compat=0.10
cp v2 "$corpus/open_and_read/version_2"
create 4k cluster_size=4k
header v2 v2
header v3 r16
header cluster_64k <("$img" create -q -f qcow2 h64 1G && cat h64)
header cluster_2m <("$img" create -q -f qcow2 -o cluster_size=2M h2m 1G && cat h2m)
header extended <("$img" create -q -f qcow2 -o extended_l2=on hx 1G && cat hx) 1024
header zstd <("$img" create -q -f qcow2 -o compression_type=zstd hz 1G && cat hz)
header lazy <("$img" create -q -f qcow2 -o lazy_refcounts=on hl 1G && cat hl)
header data_file <("$img" create -q -f qcow2 -o data_file=raw.img,data_file_raw=on hd 1G && cat hd) 1024
"$img" create -q -f qcow2 -b r16 -F qcow2 -o cluster_size=512 backed
header backed backed

cp r16 snapshots
"$img" snapshot -c first snapshots
"$io" -c 'write -P 3 512 2048' snapshots > /dev/null
"$img" snapshot -c 'a name of some length' snapshots
cp snapshots "$corpus/open_and_read/snapshots"
cut_out snapshots "$corpus/snapshot_table/two" "$(number snapshots 64 8)" 160

cp r16 bitmaps
"$img" bitmap --add bitmaps one
"$img" bitmap --add -g 4096 bitmaps two
header bitmaps bitmaps
cp bitmaps "$corpus/open_and_read/bitmaps"
magic=$(LC_ALL=C grep -obUaP '\x23\x85\x28\x75' bitmaps | head -n 1 | cut -d: -f1)
cut_out bitmaps "$corpus/bitmap_directory/two" "$(number bitmaps $((magic + 24)) 8)" \
    "$(number bitmaps $((magic + 16)) 8)"

head -c 20000 /dev/zero | tr '\0' 'x' > text.raw
"$img" convert -c -f raw -O qcow2 -o cluster_size=4k text.raw compressed
cp compressed "$corpus/open_and_read/compressed"
"$img" create -q -f qcow2 -o cluster_size=16k,extended_l2=on extended 1M
"$io" -c 'write 0 5000' -c 'write -z 8192 2048' extended > /dev/null
cp extended "$corpus/open_and_read/extended"

# an L2 table of each kind, behind the two bytes that choose the rules (see bodies/l2_entry.rs)
l2() { # name, image, shape, cluster bits - 9, octal
    local l1 table
    l1=$(number "$2" 40 8)
    table=$(($(number "$2" "$l1" 8) & 0x00fffffffffffe00))
    { printf "\\$3\\$4"; dd if="$2" bs=1 skip="$table" count=256 status=none; } > "$corpus/l2_entry/$1"
}
l2 version_2 v2 000 000
l2 version_3 r16 002 000
l2 compressed compressed 002 003
l2 extended extended 003 005
l2 data_file r16 006 000

volume() { # name, options
    "$img" create -q -f luks --object secret,id=s,data=pw -o "key-secret=s,iter-time=10,$2" volume 0
    head -c 592 volume > "$corpus/luks_header/$1"
}
volume xts cipher-alg=aes-256
volume cbc cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv
