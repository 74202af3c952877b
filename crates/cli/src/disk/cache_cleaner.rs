//! Memory of metadata caches goes back to the system while images are open.
//!
//! One thread serves all images. It begins with the first of them and ends after the last.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holstein::CacheTrimmer;

static CLEANER: Mutex<Cleaner> = Mutex::new(Cleaner { images: Vec::new(), next: 0, runs: false });
static CHANGED: Condvar = Condvar::new();

struct Cleaner {
    images: Vec<Image>,
    /// The number that the next image gets.
    next: u64,
    /// There is a thread.
    runs: bool,
}

struct Image {
    number: u64,
    trimmer: CacheTrimmer,
    interval: Duration,
    due: Instant,
}

/// The caches of an image are cleaned for as long as this is there.
#[derive(Debug)]
pub(crate) struct CacheCleaning {
    number: u64,
}

impl CacheCleaning {
    /// Drops what was not used for `interval`, and looks again after each further one.
    pub(crate) fn start(trimmer: CacheTrimmer, interval: Duration) -> Self {
        let mut cleaner = lock();
        let number = cleaner.next;
        cleaner.next += 1;
        cleaner.images.push(Image { number, trimmer, interval, due: Instant::now() + interval });
        if cleaner.runs {
            CHANGED.notify_all();
        } else {
            // Without a thread the memory stays taken until the image is closed.
            cleaner.runs = thread::Builder::new().name("cache-cleaner".into()).spawn(clean).is_ok();
        }
        Self { number }
    }
}

impl Drop for CacheCleaning {
    fn drop(&mut self) {
        lock().images.retain(|image| image.number != self.number);
        CHANGED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Cleaner> {
    CLEANER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans whatever is due until there is no image any more.
fn clean() {
    let mut cleaner = lock();
    while let Some(due) = cleaner.images.iter().map(|image| image.due).min() {
        let now = Instant::now();
        if now < due {
            let waited = CHANGED.wait_timeout(cleaner, due - now);
            cleaner = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let mut trimmers = Vec::new();
        for image in cleaner.images.iter_mut().filter(|image| image.due <= now) {
            image.due = now + image.interval;
            trimmers.push(image.trimmer.clone());
        }
        drop(cleaner);
        trimmers.iter().for_each(CacheTrimmer::trim);
        cleaner = lock();
    }
    cleaner.runs = false;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holstein::CreateOptions;
    use holstein_storage::MemStorage;

    use super::*;

    #[test]
    fn unused_tables_are_dropped_while_the_image_is_open_and_the_thread_ends_with_it() {
        let image = CreateOptions::new(1 << 20).create_on(Arc::new(MemStorage::new()));
        let image = image.expect("memory takes an image");
        image.write_at(0, b"hello").expect("it is written");
        image.flush().expect("it is flushed");
        assert!(image.cached_tables() > 0);
        let cleaning = CacheCleaning::start(image.cache_trimmer(), Duration::from_millis(5));
        let late = Instant::now() + Duration::from_secs(20);
        while image.cached_tables() > 0 && Instant::now() < late {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(image.cached_tables(), 0);
        let mut back = [0; 5];
        image.read_at(0, &mut back).expect("it is read again");
        assert_eq!(&back, b"hello");
        drop(cleaning);
        while lock().runs && Instant::now() < late {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!lock().runs);
    }
}
