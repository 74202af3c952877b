//! The pieces that `convert` copies, in the order of the disk.

use holstein_units::SECTOR;

use super::Failure;
use super::convert_copy::CopyOptions;
use super::convert_source::Sources;
use crate::disk::Status;
use crate::out;

/// Zeros shorter than this between data are read along with it: one request costs more.
const SMALL_GAP: u64 = 64 << 10;
/// The longest piece of zeros.
const MAX_ZEROES: u64 = 1 << 30;

/// What is done with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is read and written.
    Data,
    /// Zeros are written.
    Zero,
}

/// A part of the disk that one worker copies at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Counts from 0.
    pub(super) number: u64,
    /// Where it begins.
    pub(super) at: u64,
    /// How long it is.
    pub(super) len: u64,
    /// What is done with it.
    pub(super) kind: Kind,
    /// Progress is shown when it is done: at the end of each extent, and now and then in between.
    pub(super) shown: bool,
}

/// Sizes in which the disk is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// Data is copied in windows of this many bytes.
    pub(super) buffer: u64,
    /// Borders of pieces are multiples of this, so that no unit of the target is written in parts.
    pub(super) unit: u64,
    /// Progress is shown after this much data at the latest.
    pub(super) shown: u64,
}

/// What the sources say about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Zero,
    /// The target's backing file shows it.
    Inherited,
}

/// A walk over the sources.
pub(super) struct Walk<'a> {
    sources: &'a Sources,
    options: &'a CopyOptions,
    steps: Steps,
    /// What has been asked and not been used: its end and state.
    known: Option<(u64, State)>,
    at: u64,
    number: u64,
    /// Bytes since the last piece at which progress is shown.
    unshown: u64,
    /// The piece that is being made ends where something else than data begins.
    run_ends: bool,
    done: u64,
    total: u64,
}

impl<'a> Walk<'a> {
    /// A walk from the start. With `count` the amount of all pieces is known from the beginning.
    ///
    /// # Errors
    /// The state of a source cannot be had.
    pub(super) fn new(
        sources: &'a Sources,
        options: &'a CopyOptions,
        steps: Steps,
        count: bool,
    ) -> Result<Self, Failure> {
        let mut walk = Self {
            sources,
            options,
            steps,
            known: None,
            at: 0,
            number: 0,
            unshown: 0,
            run_ends: false,
            done: 0,
            total: sources.len(),
        };
        if count {
            let mut total = 0;
            while let Some(piece) = walk.next()? {
                total += piece.len;
            }
            walk = Self { known: None, at: 0, number: 0, unshown: 0, total, ..walk };
        }
        Ok(walk)
    }

    /// Notes a piece as done and says how much is.
    pub(super) fn done(&mut self, piece: &Piece) -> (u64, u64) {
        self.done += piece.len;
        (self.done, self.total)
    }

    /// The next piece.
    ///
    /// # Errors
    /// The state of a source cannot be had.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Failure> {
        while self.at < self.sources.len() {
            let (end, state) = self.state()?;
            let at = self.at;
            let whole = self.whole_units(end);
            match state {
                // Of a cluster that is inherited in part all is compressed.
                State::Inherited if !self.options.compress => self.at = end,
                State::Inherited if whole > at => self.at = whole,
                State::Zero if self.options.sparse > 0 && whole > at => {
                    if self.options.target_is_zero {
                        self.at = whole;
                        continue;
                    }
                    let len = (whole - at).min(MAX_ZEROES);
                    return Ok(Some(self.piece(len, Kind::Zero)));
                }
                State::Zero | State::Data | State::Inherited => {
                    let len = self.data_len(end)?;
                    return Ok(Some(self.piece(len, Kind::Data)));
                }
            }
        }
        Ok(None)
    }

    fn piece(&mut self, len: u64, kind: Kind) -> Piece {
        let end = self.at + len;
        self.unshown += len;
        let shown = std::mem::take(&mut self.run_ends)
            || self.unshown >= self.steps.shown
            || self.known.is_none_or(|(known, _)| known <= end);
        if shown {
            self.unshown = 0;
        }
        let piece = Piece { number: self.number, at: self.at, len, kind, shown };
        self.number += 1;
        self.at = end;
        piece
    }

    /// The end of a range of zeros without a part of a unit that goes on with something else. Where
    /// a backing file shows through, borders stay where they are.
    fn whole_units(&self, end: u64) -> u64 {
        if end >= self.sources.len() || !self.joins_units() {
            return end;
        }
        end - end % self.steps.unit
    }

    /// Whether parts of a unit may be written together though they are not alike. Where a backing
    /// file shows through that would fill the target; but compressed clusters are written whole.
    fn joins_units(&self) -> bool {
        self.options.compress || self.options.backing.is_none()
    }

    /// How far the data from here on goes: to the end of its window, over short gaps.
    fn data_len(&mut self, end: u64) -> Result<u64, Failure> {
        let start = self.at;
        let window = (start / self.steps.buffer + 1)
            .saturating_mul(self.steps.buffer)
            .min(self.sources.len());
        let mut end = end.min(window);
        while end < window && self.options.backing.is_none() && self.same_part(start, end) {
            self.at = end;
            let (next, state) = self.state()?;
            let short = state == State::Zero && next - end < SMALL_GAP && next < window;
            if state != State::Data && !short {
                self.run_ends = true;
                break;
            }
            end = next.min(window);
        }
        self.at = start;
        if self.joins_units() {
            let full = end.next_multiple_of(self.steps.unit).min(window);
            if self.same_part(start, full - 1) {
                end = full;
            }
        }
        Ok(end - start)
    }

    /// Whether one read can cover both.
    fn same_part(&self, a: u64, b: u64) -> bool {
        if self.options.compress {
            // A cluster that begins in one disk and ends in the next has to be written at once.
            return true;
        }
        let start = |at| self.sources.part_at(at).map(|(_, _, within)| at - within);
        start(a) == start(b)
    }

    /// The state at the present position, and where it ends.
    fn state(&mut self) -> Result<(u64, State), Failure> {
        if let Some((end, state)) = self.known
            && self.at < end
        {
            return Ok((end, state));
        }
        let at = self.at;
        let status = self.status(at)?;
        let mut end = at + status.len.max(1);
        let inherited = status.depth > 0 || !status.present;
        if let Some(backing) = self.options.backing.filter(|backing| at < *backing) {
            end = end.min(backing);
        }
        let state = match self.options.backing {
            // Past the end of its backing file the target reads as zeros as it is.
            Some(backing) if inherited || (status.zero && at >= backing) => State::Inherited,
            _ if status.zero => State::Zero,
            _ => State::Data,
        };
        self.known = Some((end, state));
        Ok((end, state))
    }

    /// The state of the sources from `at` on. Where it cannot be had and what is there is to be salvaged,
    /// shorter ranges are asked about, and a sector about which nothing is known counts as data.
    fn status(&self, at: u64) -> Result<Status, Failure> {
        let mut len = self.sources.len() - at;
        loop {
            let error = match self.sources.status(at, len) {
                Ok(status) => return Ok(status),
                Err(error) => error,
            };
            let text =
                format!("error while reading block status at offset {at}: {}", error.strerror());
            if !self.options.salvage {
                return Err(Failure::message(text));
            }
            if len <= SECTOR {
                if !self.options.quiet {
                    out::error_line(&format!("warning: {text}"));
                }
                return Ok(Status { len, present: true, data: true, ..Status::nothing() });
            }
            len = (len / 4).next_multiple_of(SECTOR);
        }
    }
}
