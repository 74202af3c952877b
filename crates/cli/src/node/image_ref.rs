//! Which image a command line means.

use super::Options;
use crate::disk::DiskError;

/// An image as the user named it: a file name, options, or both; and perhaps a format.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageRef {
    /// The file name or protocol name, if there is one.
    pub(crate) filename: Option<String>,
    /// Options of the node tree.
    pub(crate) options: Options,
    /// The format that `-f` gives.
    pub(crate) format: Option<String>,
    /// What messages call it.
    pub(crate) text: String,
}

impl ImageRef {
    /// An image by its name; `json:` names become option trees when they are opened.
    pub(crate) fn named(filename: &str, format: Option<&str>) -> Self {
        Self {
            filename: Some(filename.to_owned()),
            options: Options::default(),
            format: format.map(str::to_owned),
            text: filename.to_owned(),
        }
    }

    /// An image by an option string (`--image-opts`).
    pub(crate) fn from_options(text: &str) -> Self {
        Self {
            filename: None,
            options: Options::parse(text, Some("file")),
            format: None,
            text: text.to_owned(),
        }
    }

    /// An image of a command line: by name, or by options where `--image-opts` was given.
    ///
    /// # Errors
    /// A format and `--image-opts` exclude each other.
    pub(crate) fn of(
        text: &str,
        format: Option<&str>,
        image_opts: bool,
    ) -> Result<Self, DiskError> {
        match (image_opts, format) {
            (true, Some(_)) => {
                Err(DiskError::invalid("--image-opts and --format are mutually exclusive"))
            }
            (true, None) => Ok(Self::from_options(text)),
            (false, format) => Ok(Self::named(text, format)),
        }
    }

    /// Makes `json:` names and protocol prefixes part of the options.
    ///
    /// # Errors
    /// The JSON is no object.
    pub(crate) fn into_parts(self) -> Result<(Option<String>, Options), DiskError> {
        let Self { filename, mut options, format, .. } = self;
        if let Some(format) = format {
            options.set("driver", format);
        }
        match filename.as_deref().and_then(|name| name.strip_prefix("json:")) {
            Some(json) => {
                let tree = Options::parse_json(json)?;
                options.fill_from(tree);
                Ok((None, options))
            }
            None => Ok((filename, options)),
        }
    }
}
