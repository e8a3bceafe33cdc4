//! What can happen to a file in memory behind everybody's back: for tests of what the flow notices.

use super::super::engine::Place;
use super::super::names::SitePath;
use super::Memory;

/// What can happen to a file behind everybody's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// The second half is gone.
    Truncate,
    /// One byte is another one.
    Corrupt,
    /// It is gone.
    Vanish,
}

/// An engine whose files can be tampered with.
pub trait Tamper {
    /// Does that to a file, if it is there.
    fn tamper(&self, place: Place<'_>, path: &SitePath, how: Tampering);
}

impl Tamper for Memory {
    fn tamper(&self, place: Place<'_>, path: &SitePath, how: Tampering) {
        let kept = self.kept(&place.site.name);
        let Ok(server) = kept.index(place.server) else { return };
        kept.with(server, |files| {
            let Some(file) = files.get_mut(path.as_str()) else { return };
            match how {
                Tampering::Truncate => file.bytes.truncate(file.bytes.len() / 2),
                Tampering::Corrupt => {
                    let middle = file.bytes.len() / 2;
                    if let Some(byte) = file.bytes.get_mut(middle) {
                        *byte ^= 0x40;
                    }
                }
                Tampering::Vanish => {
                    files.remove(path.as_str());
                }
            }
        });
    }
}
