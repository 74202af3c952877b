//! XTS: each block is encrypted between two additions of a tweak, which doubles from block to block.

use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser};

use crate::sector_cipher::{Numbering, SECTOR, SectorCipher};
use crate::vectors::{Block, Vectors, load, store};

/// Blocks of a sector.
const BLOCKS: usize = SECTOR / 16;
/// Sectors whose first tweaks are made at once.
const BATCH: usize = 8;

/// A cipher in this mode, under two keys.
pub(crate) struct Xts<C> {
    pub(crate) data: C,
    pub(crate) tweak: C,
    pub(crate) vectors: Vectors,
}

/// The tweaks of a sector's blocks, from that of the first.
#[inline]
fn tweaks(first: &Block) -> [u128; BLOCKS] {
    let mut tweak = load(first);
    std::array::from_fn(|_| {
        let now = tweak;
        // Doubling in the field of 2^128 elements.
        tweak = (tweak << 1) ^ ((tweak >> 127) * 0x87);
        now
    })
}

#[inline]
fn add(blocks: &mut [Block], tweaks: &[u128; BLOCKS]) {
    for (block, tweak) in blocks.iter_mut().zip(tweaks) {
        *block = store(load(block) ^ tweak);
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Xts<C> {
    /// Runs `work` on the blocks of each sector between two additions of the tweaks.
    #[inline]
    fn each(&self, first: u64, sectors: &mut [u8], mut work: impl FnMut(&mut [Block])) {
        let mut number = first;
        for batch in sectors.chunks_mut(BATCH * SECTOR) {
            let mut starts = [Block::default(); BATCH];
            self.vectors.fill(number, &mut starts);
            self.tweak.encrypt_blocks(&mut starts);
            for (start, sector) in starts.iter().zip(batch.chunks_exact_mut(SECTOR)) {
                let tweaks = tweaks(start);
                let (blocks, _) = Array::slice_as_chunks_mut(sector);
                add(blocks, &tweaks);
                work(blocks);
                add(blocks, &tweaks);
            }
            number = number.wrapping_add(BATCH as u64);
        }
    }
}

impl<C> SectorCipher for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn numbering(&self) -> Numbering {
        Numbering::Host
    }

    fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |blocks| self.data.encrypt_blocks(blocks));
    }

    fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |blocks| self.data.decrypt_blocks(blocks));
    }
}
