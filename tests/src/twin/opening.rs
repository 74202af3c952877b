//! How images of a kind are made and opened, by the library and by programs.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holstein::chain::BackingPolicy;
use holstein::format::{CompressionType, Version};
use holstein::luks::{CipherMode, CipherSpec, Format, Hash, Vector};
use holstein::{CreateOptions, OpenOptions, Preallocation, Secret};
use holstein_storage::{Create, FileOptions, FileStorage, Storage};

use super::row::{DataRow, Encryption};
use super::{Place, Row};

/// What opens all images that are encrypted.
const PASSPHRASE: &str = "correct horse battery";

impl Row {
    /// Whether its name alone does not open it.
    fn needs_options(self) -> bool {
        self.data.is_some() || self.encryption.is_some()
    }

    /// What tells a program the passphrase.
    #[must_use]
    pub fn secret_words(self) -> Vec<OsString> {
        let object = || vec!["--object".into(), format!("secret,id=s0,data={PASSPHRASE}").into()];
        self.encryption.map_or_else(Vec::new, |_| object())
    }

    /// What a program is told before the name of the image: its format, or that options follow.
    #[must_use]
    pub fn flags(self) -> Vec<OsString> {
        if !self.needs_options() {
            return vec!["-f".into(), "qcow2".into()];
        }
        let mut words = self.secret_words();
        words.push("--image-opts".into());
        words
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
        if self.encryption.is_some() {
            word.push(",encrypt.key-secret=s0");
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
        match self.encryption {
            None => {}
            Some(Encryption::Aes) => add(format_args!("encrypt.format=aes,encrypt.key-secret=s0")),
            Some(Encryption::Luks(cipher)) => {
                // The time that a passphrase should take is as short as can be.
                add(format_args!("encrypt.format=luks,encrypt.iter-time=1,encrypt.key-secret=s0"));
                add(format_args!("{}", cipher_words(cipher)));
            }
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
        let mut options = CreateOptions::new(self.size())
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
        options = match self.encryption {
            None => options,
            Some(Encryption::Aes) => options.legacy_aes(passphrase()),
            Some(Encryption::Luks(cipher)) => {
                let quick = Format { cipher, hash: Hash::Sha256, iter_time: Duration::ZERO };
                options.luks(quick, passphrase())
            }
        };
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
        if self.encryption.is_some() {
            options = options.passphrase(passphrase());
        }
        if self.small_cache {
            let slice = self.cluster.min(4096);
            options = options.l2_cache_entry_size(slice).l2_cache_size(2 * slice);
        }
        Ok(options)
    }
}

fn passphrase() -> Secret {
    Secret::new(PASSPHRASE.as_bytes().to_vec())
}

/// The options that ask for a cipher.
fn cipher_words(cipher: CipherSpec) -> String {
    let mode = match cipher.mode {
        CipherMode::Xts => "xts",
        CipherMode::Cbc => "cbc",
    };
    let vector = match cipher.vector {
        Vector::Plain => "plain",
        Vector::Plain64 => "plain64",
        Vector::Essiv(_) => "essiv,encrypt.ivgen-hash-alg=sha256",
    };
    let bits = cipher.key * 8;
    format!("encrypt.cipher-alg=aes-{bits},encrypt.cipher-mode={mode},encrypt.ivgen-alg={vector}")
}

fn data_file(place: &Place, write: bool, create: Create) -> Result<Arc<dyn Storage>, String> {
    let options = FileOptions { write, create, ..FileOptions::default() };
    let file = FileStorage::open(place.data(), &options);
    Ok(Arc::new(file.map_err(|e| format!("the data file: {e}"))?))
}
