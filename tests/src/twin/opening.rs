//! How images of a kind are made and opened, by the library and by programs.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use holstein::chain::BackingPolicy;
use holstein::format::{CompressionType, Version};
use holstein::{CreateOptions, OpenOptions, Preallocation};
use holstein_storage::{Create, FileOptions, FileStorage, Storage};

use super::row::DataRow;
use super::{Place, Row};

impl Row {
    /// Whether its name alone does not open it.
    fn needs_options(self) -> bool {
        self.data.is_some()
    }

    /// What a program is told before the name of the image: its format, or that options follow.
    #[must_use]
    pub fn flags(self) -> Vec<OsString> {
        if self.needs_options() {
            return vec!["--image-opts".into()];
        }
        vec!["-f".into(), "qcow2".into()]
    }

    /// The image as a program is told of it behind [`Row::flags`].
    #[must_use]
    pub fn image_word(self, place: &Place) -> OsString {
        if self.needs_options() { self.options_word(place, false) } else { place.image().into() }
    }

    /// The image as the options with which a program opens it.
    #[must_use]
    pub fn options_word(self, place: &Place, no_unref: bool) -> OsString {
        let mut word = OsString::from("driver=qcow2");
        if no_unref {
            word.push(",discard-no-unref=on");
        }
        let mut file = |name: &str, path: &Path| {
            word.push(format!(",{name}.driver=file,{name}.filename="));
            word.push(path);
        };
        file("file", &place.image());
        if self.data.is_some() {
            file("data-file", &place.data());
        }
        word
    }

    /// The backing file of a new name, as a program is told of it for `rebase`: the name in the image,
    /// and a name that it can open if that is another.
    #[must_use]
    pub fn opened_name(self, place: &Place, name: &str) -> Option<OsString> {
        // Names beside an image that was opened by options are not found by the reference.
        self.needs_options().then(|| place.folder().join(name).into())
    }

    /// The options of `create -o`.
    #[must_use]
    pub fn create_words(self, place: &Place) -> String {
        let mut words = format!("cluster_size={}", self.cluster);
        let mut add = |word: std::fmt::Arguments<'_>| {
            write!(words, ",{word}").expect("a string takes all");
        };
        match self.version {
            Version::V2 => add(format_args!("compat=0.10")),
            Version::V3 => add(format_args!("compat=1.1,refcount_bits={}", self.refcount_bits)),
        }
        if self.lazy {
            add(format_args!("lazy_refcounts=on"));
        }
        if self.extended {
            add(format_args!("extended_l2=on"));
        }
        if self.zstd {
            add(format_args!("compression_type=zstd"));
        }
        if let Some(data) = self.data {
            let raw = if data == DataRow::Raw { "on" } else { "off" };
            add(format_args!("data_file={},data_file_raw={raw}", place.data().display()));
        }
        let mode = match self.preallocation {
            Preallocation::Off => return words,
            Preallocation::Metadata => "metadata",
            Preallocation::Falloc => "falloc",
            Preallocation::Full => "full",
        };
        add(format_args!("preallocation={mode}"));
        words
    }

    /// The same for the library; a file for its payload is made.
    ///
    /// # Errors
    /// I/O, as text.
    pub fn create(self, place: &Place) -> Result<CreateOptions, String> {
        let options = CreateOptions::new(self.size())
            .version(self.version)
            .cluster_size(self.cluster)
            .refcount_bits(self.refcount_bits)
            .lazy_refcounts(self.lazy)
            .extended_l2(self.extended)
            .compression(match self.zstd {
                false => CompressionType::Deflate,
                true => CompressionType::Zstd,
            })
            .preallocation(self.preallocation);
        let Some(data) = self.data else { return Ok(options) };
        let name = place.data().into_os_string().into_encoded_bytes();
        let file = data_file(place, true, Create::New)?;
        Ok(options.data_file(name, file, data == DataRow::Raw))
    }

    /// How the library opens it.
    ///
    /// # Errors
    /// I/O, as text.
    pub fn open(self, place: &Place, write: bool) -> Result<OpenOptions, String> {
        let mut options = OpenOptions::new()
            .backing_policy(BackingPolicy::same_directory())
            .pass_discard_request(true)
            .pass_discard_other(true)
            .discard_no_unref(self.no_unref);
        if self.data.is_some() {
            options = options.data_file(data_file(place, write, Create::No)?);
        }
        if self.small_cache {
            let slice = self.cluster.min(4096);
            options = options.l2_cache_entry_size(slice).l2_cache_size(2 * slice);
        }
        Ok(options)
    }
}

fn data_file(place: &Place, write: bool, create: Create) -> Result<Arc<dyn Storage>, String> {
    let options = FileOptions { write, create, ..FileOptions::default() };
    let file = FileStorage::open(place.data(), &options);
    Ok(Arc::new(file.map_err(|e| format!("the data file: {e}"))?))
}
