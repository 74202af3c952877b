//! `reopen`: the open image under other options.

use std::sync::Arc;

use super::files::{Opened, driver_options, invalid, open_with};
use super::letters::Letters;
use super::session::{Session, usage};
use super::{Failed, Outcome};
use crate::node::{CacheMode, Options, has_protocol};
use crate::out;
use crate::text::Json;

/// `reopen`: opens the same image in another way.
pub(super) fn reopen(session: &mut Session, words: &[&str]) -> Outcome {
    let mut writable = None;
    let mut cache = None;
    let mut changes = Options::default();
    let mut letters = Letters::new(words, "c:o:rw");
    for option in letters.by_ref() {
        match option.letter {
            'c' => {
                let mode = CacheMode::parse(option.value);
                cache = Some(mode.ok_or_else(|| invalid("cache", option.value))?);
            }
            'o' => {
                let earlier = std::mem::replace(&mut changes, driver_options(option.value));
                changes.fill_from(earlier);
            }
            'r' | 'w' if writable.is_some() => {
                out::error_line("Only one -r/-w option may be given");
                return Err(Failed);
            }
            'r' => writable = Some(false),
            'w' => writable = Some(true),
            _ => return Err(usage(words)),
        }
    }
    if !letters.operands().is_empty() {
        return Err(usage(words));
    }
    session.jobs.wait_all();
    let Some(opened) = session.opened.take() else { return Err(Failed) };
    let changes = match opened.real_changes(changes, writable, cache) {
        Ok(changes) => changes,
        Err(failed) => {
            session.opened = Some(opened);
            return Err(failed);
        }
    };
    let (old_image, old_how) = (opened.image.clone(), opened.how.clone());
    if old_how.snapshot && (writable.is_some() || cache.is_some() || !changes.is_empty()) {
        session.opened = Some(opened);
        out::error_line("a temporary overlay cannot be reopened in another way");
        return Err(Failed);
    }
    let (mut image, mut how) = (old_image.clone(), old_how.clone());
    how.flags.writable = writable.unwrap_or(how.flags.writable);
    how.flags.cache = cache.unwrap_or(how.flags.cache);
    image.options = joined(changes, image.options);
    // One process cannot hold the locks twice, so the image is closed before it is opened again.
    opened.close().map_err(|error| {
        out::report("", &error);
        Failed
    })?;
    let objects = &session.objects;
    let refused = match open_with(&image, &how, objects) {
        Ok(disk) => {
            session.opened = Some(Opened { disk: Arc::new(disk), image, how });
            return Ok(());
        }
        Err(error) => error,
    };
    out::report("", &refused);
    match open_with(&old_image, &old_how, objects) {
        Ok(disk) => {
            session.opened = Some(Opened { disk: Arc::new(disk), image: old_image, how: old_how });
        }
        Err(error) => out::report("cannot go back to the earlier options: ", &error),
    }
    Err(Failed)
}

/// Options that can change while an image is open; names that end in a dot stand for all below.
const CHANGEABLE: &[&str] = &[
    "auto-read-only",
    "cache.direct",
    "cache.no-flush",
    "cache.writeback",
    "cache-clean-interval",
    "cache-size",
    "detect-zeroes",
    "discard",
    "discard-no-unref",
    "l2-cache-entry-size",
    "l2-cache-size",
    "lazy-refcounts",
    "overlap-check",
    "overlap-check.",
    "pass-discard-other",
    "pass-discard-request",
    "pass-discard-snapshot",
    "read-only",
    "refcount-cache-size",
];

impl Opened {
    /// The options that really change; refuses those that cannot, or that are given in two ways.
    fn real_changes(
        &self,
        changes: Options,
        writable: Option<bool>,
        cache: Option<CacheMode>,
    ) -> Result<Options, Failed> {
        let mut real = Options::default();
        for (key, value) in changes.entries() {
            let complaint = match key.as_str() {
                "read-only" if writable.is_some() => "Cannot set both -r/-w and 'read-only'",
                "cache.direct" | "cache.no-flush" | "cache.writeback" if cache.is_some() => {
                    "Cannot set both -c and the cache options"
                }
                key if is_changeable(key) || self.has_option(key, value) => {
                    real.set(key, value.clone());
                    continue;
                }
                key => &format!("Cannot change the option '{}'", in_its_node(key)),
            };
            out::error_line(complaint);
            return Err(Failed);
        }
        Ok(real)
    }

    /// Whether the image was opened with that option, given or found.
    fn has_option(&self, key: &str, value: &Json) -> bool {
        let given = self.image.options.entries();
        if given.iter().any(|(known, set)| known == key && set == value) {
            return true;
        }
        let Ok(info) = self.disk.info() else { return false };
        // The data file that was found is the one that the header names.
        let found = !given.iter().any(|(known, _)| known.starts_with("data-file."));
        let data_file = info.specific.as_ref().and_then(|facts| facts.get("data-file"));
        match key {
            "driver" => *value == Json::str(info.format),
            "file.driver" => self.is_plain_file() && *value == Json::str("file"),
            "backing.driver" => self.backing_format().is_some_and(|format| *value == format),
            "data-file.driver" => found && data_file.is_some() && *value == Json::str("file"),
            "data-file.filename" => found && data_file == Some(value),
            _ => false,
        }
    }

    /// Whether nothing but a path says what the image lies in.
    fn is_plain_file(&self) -> bool {
        let given = self.image.options.entries();
        let plain = |name: &String| !has_protocol(name) || name.starts_with("file:");
        self.image.filename.as_ref().is_some_and(plain)
            && !given.iter().any(|(known, _)| known.starts_with("file."))
    }

    /// The format of the backing file that the image names, where no option goes for it.
    fn backing_format(&self) -> Option<Json> {
        let given = self.image.options.entries();
        if given.iter().any(|(known, _)| known.starts_with("backing")) {
            return None;
        }
        let header = self.disk.image()?.header();
        header.backing_format().map(|format| Json::str(String::from_utf8_lossy(format)))
    }
}

/// New options with those earlier ones that they do not replace. Options of one matter replace
/// each other, under whatever names they are given.
fn joined(new: Options, old: Options) -> Options {
    let is_overlap = |key: &str| key == "overlap-check" || key.starts_with("overlap-check.");
    let new_overlap = new.has("overlap-check") || new.has("overlap-check.template");
    let new_total = new.has("cache-size");
    let new_parts = new.has("l2-cache-size") || new.has("refcount-cache-size");
    let mut all = new;
    for (key, value) in old.entries() {
        let replaced = match key.as_str() {
            key if is_overlap(key) => new_overlap,
            "l2-cache-size" | "refcount-cache-size" => new_total,
            "cache-size" => new_parts,
            _ => false,
        };
        if !replaced && !all.has(key) {
            all.set(key, value.clone());
        }
    }
    all
}

/// The name of an option in the node that it is for.
fn in_its_node(key: &str) -> &str {
    let mut name = key;
    while let Some(below) = name.strip_prefix("file.").or(name.strip_prefix("backing.")) {
        name = below;
    }
    name
}

/// Whether an option can change while an image is open.
fn is_changeable(key: &str) -> bool {
    CHANGEABLE.iter().any(|known| *known == key || known.ends_with('.') && key.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(new: &str, old: &str) -> String {
        let options = joined(Options::parse(new, None), Options::parse(old, None));
        let keys: Vec<_> = options.entries().iter().map(|(key, _)| key.as_str()).collect();
        keys.join(" ")
    }

    #[test]
    fn new_options_replace_what_is_about_the_same() {
        let old = "overlap-check=all,overlap-check.main-header=on,driver=qcow2";
        assert_eq!(keys("overlap-check.template=none", old), "overlap-check.template driver");
        assert_eq!(keys("cache-size=1M", "l2-cache-size=1,refcount-cache-size=1"), "cache-size");
        let parts = "l2-cache-size=1,refcount-cache-size=1";
        assert_eq!(keys(parts, "cache-size=1"), "l2-cache-size refcount-cache-size");
        assert_eq!(keys("l2-cache-size=1", "cache-size=1,driver=qcow2"), "l2-cache-size driver");
    }
}
