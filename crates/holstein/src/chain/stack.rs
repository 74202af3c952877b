//! Layers over each other, read as one disk.

use std::io;
use std::sync::Arc;

use holstein_engine::Backing;

use super::{Held, Layer};

/// What a chain has at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainExtent {
    /// How many bytes, at least one.
    pub len: u64,
    /// What they are; [`Held::Nothing`] where no layer has anything.
    pub held: Held,
    /// The layer that says so, counted from the top; past the end of a layer it is that one.
    pub depth: usize,
}

/// The disks under an image, the uppermost first.
#[derive(Clone, Default)]
pub struct Chain {
    layers: Vec<Arc<dyn Layer>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("layers", &self.layers.len()).finish()
    }
}

impl Chain {
    /// A chain of these layers, the uppermost first.
    #[must_use]
    pub fn new(layers: Vec<Arc<dyn Layer>>) -> Self {
        Self { layers }
    }

    /// The layers, the uppermost first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<dyn Layer>] {
        &self.layers
    }

    /// The chain from layer `index` on.
    #[must_use]
    pub fn below(&self, index: usize) -> Self {
        Self { layers: self.layers.get(index..).unwrap_or_default().to_vec() }
    }

    /// The layers above `index` alone.
    #[must_use]
    pub fn above(&self, index: usize) -> Self {
        Self { layers: self.layers.get(..index).unwrap_or(&self.layers).to_vec() }
    }

    /// What the chain has at `at`, at most `len` bytes of it.
    ///
    /// What lies past the end of a layer through which one sees is zeros at that layer.
    ///
    /// # Errors
    /// Whatever a layer says.
    pub fn extent_at(&self, at: u64, len: u64) -> io::Result<ChainExtent> {
        let mut len = len;
        for (depth, layer) in self.layers.iter().enumerate() {
            let have = layer.len().saturating_sub(at);
            if have == 0 {
                return Ok(ChainExtent { len, held: Held::Zero, depth });
            }
            let own = layer.own_extent(at, len.min(have))?;
            len = progress(own.len, len.min(have))?;
            if own.held != Held::Nothing {
                return Ok(ChainExtent { len, held: own.held, depth });
            }
        }
        Ok(ChainExtent { len, held: Held::Nothing, depth: self.layers.len() })
    }

    /// Fills `into` from byte `at` on, with zeros where no layer has anything.
    ///
    /// # Errors
    /// Whatever a layer says.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut rest = into;
        let mut at = at;
        while !rest.is_empty() {
            let len = self.read_stretch(at, rest)?;
            rest = &mut rest[len..];
            at += len as u64;
        }
        Ok(())
    }

    /// Fills the start of `into` from the one layer that has it, and says how much that was.
    fn read_stretch(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut len = into.len();
        for layer in &self.layers {
            let have = layer.len().saturating_sub(at);
            if have == 0 {
                // Past the end of this layer nothing below it shows.
                break;
            }
            len = usize::try_from(have).map_or(len, |have| have.min(len));
            let into = &mut into[..len];
            let own = layer.read_own(at, into)?;
            len = progress(own.len as u64, len as u64).map(|_| own.len)?;
            if own.held {
                return Ok(len);
            }
        }
        into[..len].fill(0);
        Ok(len)
    }
}

/// A layer that answers with nothing, or with more than was asked for, would lead nowhere.
fn progress(got: u64, asked: u64) -> io::Result<u64> {
    if got == 0 || got > asked {
        let text = format!("a layer answered with {got} of {asked} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(got)
}

impl Backing for Chain {
    fn len(&self) -> u64 {
        self.layers.first().map_or(0, |layer| layer.len())
    }

    fn reads_as_zero(&self, at: u64, len: u64) -> bool {
        let Some(end) = at.checked_add(len) else { return false };
        let mut at = at;
        while at < end {
            match self.extent_at(at, end - at) {
                Ok(ChainExtent { len, held: Held::Zero | Held::Nothing, .. }) => at += len,
                _ => return false,
            }
        }
        true
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        Self::read_at(self, at, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::LayerExtent;
    use holstein_engine::OwnRead;

    /// A layer of one byte a unit: `.` is nothing, `0` zeros, any other byte itself.
    struct Text(&'static [u8]);

    impl Text {
        fn run(&self, at: u64, len: u64) -> (usize, usize, u8) {
            let at = usize::try_from(at).expect("the text is short");
            let rest = &self.0[at..];
            let run = rest.iter().take_while(|b| **b == rest[0]).count();
            (at, run.min(usize::try_from(len).unwrap_or(run)), rest[0])
        }
    }

    impl Layer for Text {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_own(&self, at: u64, into: &mut [u8]) -> io::Result<OwnRead> {
            let (_, len, byte) = self.run(at, into.len() as u64);
            match byte {
                b'.' => return Ok(OwnRead { len, held: false }),
                b'0' => into[..len].fill(0),
                byte => into[..len].fill(byte),
            }
            Ok(OwnRead { len, held: true })
        }
        fn own_extent(&self, at: u64, len: u64) -> io::Result<LayerExtent> {
            let (_, len, byte) = self.run(at, len);
            let held = match byte {
                b'.' => Held::Nothing,
                b'0' => Held::Zero,
                _ => Held::Data,
            };
            Ok(LayerExtent { len: len as u64, held })
        }
    }

    fn chain(layers: &[&'static str]) -> Chain {
        let layer = |text: &&'static str| Arc::new(Text(text.as_bytes())) as Arc<dyn Layer>;
        Chain::new(layers.iter().map(layer).collect())
    }

    #[test]
    fn the_uppermost_layer_that_has_something_shows() {
        let chain = chain(&["a.0....", "bb.b.", "ccccccccc"]);
        // The same with a hole between two stretches past the end.
        let mut holes = [1; 4];
        self::chain(&["a..d", "b"]).read_at(0, &mut holes).expect("layers of memory do not fail");
        assert_eq!(&holes, b"a\0\0d");
        let mut all = [1; 9];
        chain.read_at(0, &mut all).expect("layers of memory do not fail");
        assert_eq!(&all, b"ab\0bc\0\0\0\0", "the second layer ends at 5, the first at 7");
        let at = |at, len| chain.extent_at(at, len).expect("layers of memory do not fail");
        assert_eq!(at(0, 9), ChainExtent { len: 1, held: Held::Data, depth: 0 });
        assert_eq!(at(1, 9), ChainExtent { len: 1, held: Held::Data, depth: 1 });
        assert_eq!(at(2, 9), ChainExtent { len: 1, held: Held::Zero, depth: 0 });
        assert_eq!(at(4, 9), ChainExtent { len: 1, held: Held::Data, depth: 2 });
        assert_eq!(at(5, 2), ChainExtent { len: 2, held: Held::Zero, depth: 1 });
        assert_eq!(Backing::len(&chain), 7);
        assert!(chain.reads_as_zero(5, 4) && !chain.reads_as_zero(4, 2));
    }

    #[test]
    fn parts_of_a_chain_are_chains() {
        let chain = chain(&["a..", "b.", "ccc"]);
        let mut bytes = [1; 3];
        chain.below(1).read_at(0, &mut bytes).expect("layers of memory do not fail");
        assert_eq!(&bytes, b"bc\0");
        let held = |at| chain.above(2).extent_at(at, 1).map(|extent| extent.held).ok();
        assert_eq!(
            [held(0), held(1), held(2)],
            [Some(Held::Data), Some(Held::Nothing), Some(Held::Zero)]
        );
    }

    #[test]
    fn a_layer_that_does_not_move_on_is_an_error() {
        struct Stuck;
        impl Layer for Stuck {
            fn len(&self) -> u64 {
                8
            }
            fn read_own(&self, _: u64, _: &mut [u8]) -> io::Result<OwnRead> {
                Ok(OwnRead { len: 0, held: true })
            }
            fn own_extent(&self, _: u64, _: u64) -> io::Result<LayerExtent> {
                Ok(LayerExtent { len: 0, held: Held::Nothing })
            }
        }
        let chain = Chain::new(vec![Arc::new(Stuck)]);
        assert!(chain.read_at(0, &mut [0; 4]).is_err());
        assert!(chain.extent_at(0, 4).is_err());
    }
}
