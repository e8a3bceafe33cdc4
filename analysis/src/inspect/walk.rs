//! From datagram to datagram of a stream, whichever family it is of: transitions and some events whole, of the others the header.

use super::window::Window;
use super::{LOOKED_INTO, Report, WHOLE_FILE};
use crate::formats::FormatError;
use crate::source::SourceError;

/// What a family of formats does with a datagram.
pub(super) trait Family {
    /// Bytes of a datagram's header.
    const HEADER: usize;

    /// Length of the datagram with this header, and whether it is an event.
    fn header(head: &[u8], at: u64) -> Result<(usize, bool), FormatError>;

    /// Whether all events are to be read whole, however large the file is.
    fn is_small(&self) -> bool;

    /// Takes a whole datagram.
    fn datagram(&mut self, report: &mut Report, bytes: &[u8], at: u64) -> Result<(), FormatError>;

    /// Takes an event of which only the header is known.
    fn event(&mut self, report: &mut Report, head: &[u8], at: u64) -> Result<(), FormatError>;
}

/// Walks a stream; a datagram that is cut, or whose length cannot be told, ends the walk. All faults are told in the report.
pub(super) async fn walk<F: Family>(
    family: &mut F,
    report: &mut Report,
    window: &mut Window,
) -> Result<(), SourceError> {
    let file = window.size();
    let mut at = 0;
    while at < file {
        let head = window.at(at, F::HEADER).await?;
        let (size, is_event) = match F::header(head, at) {
            Ok(header) => header,
            Err(error) => {
                report.fault(&error);
                return Ok(());
            }
        };
        let end = at + size as u64;
        if end > file {
            let missing = end - file;
            report.fault(&FormatError::Truncated { what: "datagram", at, missing });
            return Ok(());
        }
        let looked_into = report.events.as_ref().map_or(0, |events| events.looked_into);
        let whole = !is_event || family.is_small() || looked_into < LOOKED_INTO || file <= WHOLE_FILE;
        let taken = if whole {
            if is_event {
                // Also one with a fault inside has been looked into.
                report.looked_into(1);
            }
            family.datagram(report, window.at(at, size).await?, at)
        } else {
            family.event(report, head, at)
        };
        if let Err(error) = taken {
            report.fault(&error);
        }
        at = end;
    }
    Ok(())
}
