//! The files of an image: its own, that of its payload, and those below it.

use std::sync::Arc;

use holstein::chain::{Chain, Layer};
use holstein::{
    CommitOptions, Error, Image, NewBacking, OpenOptions, ReadOnlyImage, RebaseOptions,
};
use holstein_storage::{MemStorage, Storage};

use crate::unlocked::with_passphrase;
use crate::{Config, Name};

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
    /// Its data file, where it has one.
    pub data: Option<Arc<dyn Storage>>,
    /// [`Name::Base`], where there is one.
    pub base: Option<Arc<dyn Storage>>,
    /// The others.
    pub fixed: Option<Arc<Fixed>>,
    /// What kind of images they are.
    pub(crate) config: Config,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

impl Files {
    /// The files of a program, by their numbers: the image's own, its data file if it has one, and its
    /// base.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new(config: Config, files: Vec<Arc<dyn Storage>>, fixed: Option<Arc<Fixed>>) -> Self {
        let mut files = files.into_iter();
        let own = files.next().expect("an image has a file");
        let data = if config.has_data_file() { files.next() } else { None };
        Self { own, data, base: files.next(), fixed, config }
    }

    /// The same with another file in place of the image's own.
    #[must_use]
    pub fn with_own(&self, own: Arc<dyn Storage>) -> Self {
        Self { own, ..self.clone() }
    }

    /// Numbers of the files that hold the image: all but its base.
    pub fn of_image(&self) -> std::ops::Range<usize> {
        0..1 + usize::from(self.data.is_some())
    }

    /// The base as the image, where there is one.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        let own = Arc::clone(self.base.as_ref()?);
        let config = self.config.without_data_file();
        Some(Self { own, data: None, base: None, fixed: self.fixed.clone(), config })
    }

    /// Opens the image over what it names.
    ///
    /// # Errors
    /// What the library says.
    pub fn open(&self, options: &OpenOptions) -> Result<Image, Error> {
        let mut options = self.with_access(options.clone());
        if let Some(chain) = self.present()? {
            options = options.backing_chain(chain);
        }
        with_passphrase(self.config, options, |options| options.open_storage(Arc::clone(&self.own)))
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
            .and_then(|options| self.read_only(&self.own, self.with_access(options)))
            .map_err(|e| format!("does not open: {e}"))
    }

    /// With what the image needs beside its own file.
    fn with_access(&self, options: OpenOptions) -> OpenOptions {
        match &self.data {
            None => options,
            Some(data) => options.data_file(Arc::clone(data)),
        }
    }

    fn read_only(
        &self,
        file: &Arc<dyn Storage>,
        options: OpenOptions,
    ) -> Result<ReadOnlyImage, Error> {
        with_passphrase(self.config, options, |options| {
            options.open_storage_read_only(Arc::clone(file))
        })
    }

    /// The chain that the image names now.
    fn present(&self) -> Result<Option<Arc<Chain>>, Error> {
        if self.fixed.is_none() {
            return Ok(None);
        }
        let alone = self.with_access(OpenOptions::new().no_backing());
        let header = self.read_only(&self.own, alone)?.header();
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
            Ok(Arc::new(self.read_only(&storage, OpenOptions::new().no_backing())?))
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
        let options = self.with_access(OpenOptions::new().backing_chain(Arc::default()));
        let overlay = with_passphrase(self.config, options, |options| {
            options.open_storage(Arc::clone(&self.own))
        })?;
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
