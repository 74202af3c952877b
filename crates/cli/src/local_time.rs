//! Local time, as the system's rules have it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes seconds since the epoch as `YYYY-MM-DD HH:MM:SS` in local time.
pub(crate) fn format(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        // Only numbers outside of the calendar come here.
        Err(_) => seconds.to_string(),
    }
}
