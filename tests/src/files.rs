//! The files of an image: its own, and those below it.

use std::sync::Arc;

use holstein::chain::{Chain, Layer};
use holstein::{
    CommitOptions, Error, Image, NewBacking, OpenOptions, ReadOnlyImage, RebaseOptions,
};
use holstein_storage::{MemStorage, Storage};

use crate::Name;

/// Files that are never written to.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// [`Name::Lowest`].
    pub lowest: Arc<MemStorage>,
    /// [`Name::Other`].
    pub other: Arc<MemStorage>,
}

/// An image with the files that it may name.
#[derive(Clone)]
pub struct Files {
    /// The image's own.
    pub own: Arc<dyn Storage>,
    /// [`Name::Base`], where there is one.
    pub base: Option<Arc<dyn Storage>>,
    /// The others.
    pub fixed: Option<Arc<Fixed>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

impl Files {
    /// The files of a program, by their numbers: the image's own, and its base.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new(files: Vec<Arc<dyn Storage>>, fixed: Option<Arc<Fixed>>) -> Self {
        let mut files = files.into_iter();
        Self { own: files.next().expect("an image has a file"), base: files.next(), fixed }
    }

    /// The base as the image, where there is one.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        let own = Arc::clone(self.base.as_ref()?);
        Some(Self { own, base: None, fixed: self.fixed.clone() })
    }

    /// Opens the image over what it names.
    ///
    /// # Errors
    /// What the library says.
    pub fn open(&self, options: &OpenOptions) -> Result<Image, Error> {
        match self.present()? {
            None => options.open_storage(Arc::clone(&self.own)),
            Some(chain) => options.clone().backing_chain(chain).open_storage(Arc::clone(&self.own)),
        }
    }

    /// The same for reading.
    ///
    /// # Errors
    /// Why it does not open, as text.
    pub fn open_read_only(&self) -> Result<ReadOnlyImage, String> {
        let options = self.present().map(|chain| match chain {
            None => OpenOptions::new(),
            Some(chain) => OpenOptions::new().backing_chain(chain),
        });
        options
            .and_then(|options| options.open_storage_read_only(Arc::clone(&self.own)))
            .map_err(|e| format!("does not open: {e}"))
    }

    /// The chain that the image names now.
    fn present(&self) -> Result<Option<Arc<Chain>>, Error> {
        if self.fixed.is_none() {
            return Ok(None);
        }
        let alone = OpenOptions::new().no_backing();
        let header = alone.open_storage_read_only(Arc::clone(&self.own))?.header();
        let name = header.backing_file.as_deref().map(String::from_utf8_lossy);
        // What cannot be named is not there either.
        let name = name.and_then(|name| name.parse().ok());
        name.map(|name| self.chain(name).map(Arc::new)).transpose()
    }

    /// The file with a name.
    #[must_use]
    pub fn named(&self, name: Name) -> Option<Arc<dyn Storage>> {
        if name.is_base() {
            return self.base.clone();
        }
        let fixed = self.fixed.as_ref()?;
        let fixed = if name == Name::Other { &fixed.other } else { &fixed.lowest };
        Some(Arc::<MemStorage>::clone(fixed))
    }

    /// The chain that begins with a file.
    fn chain(&self, name: Name) -> Result<Chain, Error> {
        let layer = |storage: Arc<dyn Storage>| -> Result<Arc<dyn Layer>, Error> {
            Ok(Arc::new(OpenOptions::new().no_backing().open_storage_read_only(storage)?))
        };
        let under = name.is_base().then_some(Name::Lowest);
        let files = [Some(name), under].into_iter().flatten().filter_map(|name| self.named(name));
        Ok(Chain::new(files.map(layer).collect::<Result<_, _>>()?))
    }

    /// Commits the image, which is closed, into its base.
    ///
    /// # Errors
    /// What the library says.
    pub fn commit(&self) -> Result<(), Error> {
        let overlay =
            OpenOptions::new().backing_chain(Arc::default()).open_storage(Arc::clone(&self.own))?;
        let base = self.base().expect("programs commit only over a base");
        let base = base.open(&OpenOptions::new())?;
        CommitOptions::new().workers(1).run(&overlay, &base, &mut |_, _| {})?;
        base.close()?;
        overlay.close()
    }

    /// Rebases the image, which is `open` over what it names. Between two names of the same file the
    /// name alone changes.
    ///
    /// # Errors
    /// What the library says.
    pub fn rebase(&self, open: &Image, to: Option<Name>) -> Result<(), Error> {
        let name = to.map(|to| (to.text().as_bytes(), Some(b"qcow2".as_slice())));
        let from: Option<Name> =
            open.header().backing_file.and_then(|name| String::from_utf8_lossy(&name).parse().ok());
        let options = RebaseOptions::new().workers(1);
        let run = |new: NewBacking<'_>| options.run(open, new, name, &mut |_, _| {});
        let over_base = from.is_some_and(Name::is_base);
        match to {
            None => run(NewBacking::Nothing),
            Some(to) if over_base && to.is_base() => open.set_backing_file(name),
            Some(Name::Lowest) if over_base => run(NewBacking::Member(1)),
            Some(to) => run(NewBacking::Chain(&self.chain(to)?)),
        }
    }
}
