//! CBC: each block is added to the one before it, the first to the sector's vector.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
    BlockSizeUser, InnerIvInit,
};

use crate::sector_cipher::{Numbering, SECTOR, SectorCipher};
use crate::vectors::{Block, Vectors};

/// A cipher in this mode.
pub(crate) struct Cbc<C> {
    pub(crate) cipher: C,
    pub(crate) vectors: Vectors,
}

impl<C> Cbc<C> {
    /// Runs `work` on the vector and the blocks of each sector.
    fn each(&self, first: u64, sectors: &mut [u8], work: impl Fn(&Block, &mut [Block])) {
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(SECTOR)) {
            let mut vector = [Block::default()];
            self.vectors.fill(number, &mut vector);
            work(&vector[0], Array::slice_as_chunks_mut(sector).0);
        }
    }
}

impl<C> SectorCipher for Cbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn numbering(&self) -> Numbering {
        Numbering::Host
    }

    fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |vector, blocks| {
            cbc::Encryptor::inner_iv_init(&self.cipher, vector).encrypt_blocks(blocks);
        });
    }

    fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |vector, blocks| {
            cbc::Decryptor::inner_iv_init(&self.cipher, vector).decrypt_blocks(blocks);
        });
    }
}
