//! Who makes the requests.

use super::{BitmapOp, Change, Place, Row};
use crate::Op;

/// What came of a request: done, or refused with these words.
pub type Answer = Result<(), String>;

/// Somebody who makes requests of images.
pub trait Side {
    /// Makes the image of a row, and what lies below it, in a folder that is empty.
    ///
    /// # Errors
    /// What went wrong.
    fn create(&mut self, row: Row, place: &Place) -> Result<(), String>;

    /// Makes a request; `size` is that of the disk before it, a write writes pattern `id`. Requests
    /// that move data may be put off until [`Side::close`].
    ///
    /// # Errors
    /// A request that was put off and failed.
    fn perform(
        &mut self,
        row: Row,
        place: &Place,
        op: Op,
        size: u64,
        id: u64,
    ) -> Result<Answer, String>;

    /// Makes a request about a bitmap, and leaves the image as the request wants it.
    ///
    /// # Errors
    /// A request that was put off and failed.
    fn bitmap(&mut self, row: Row, place: &Place, op: BitmapOp) -> Result<Answer, String>;

    /// Changes an image, which is one row before and another after, and leaves it closed.
    ///
    /// # Errors
    /// A request that was put off and failed.
    fn change(&mut self, rows: (Row, Row), place: &Place, change: Change)
    -> Result<Answer, String>;

    /// Ends what was begun: the files are whole, and nobody has them open.
    ///
    /// # Errors
    /// What went wrong.
    fn close(&mut self, row: Row, place: &Place) -> Result<(), String>;
}
