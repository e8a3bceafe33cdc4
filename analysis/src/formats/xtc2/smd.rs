//! The small file beside a stream (`smalldata/*.smd.xtc2`): where each shot lies, and in which chunk file. Follows a growing
//! file: whole datagrams are taken, a cut one at the end is left for the next time.

use super::data::values;
use super::datagram::{Datagram, HEADER, MAX_DATAGRAM, Service, Timestamp, datagrams};
use super::names::Configuration;
use crate::formats::FormatError;

/// What one datagram of a small file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A shot and its place.
    Event(Place),
    /// From here on shots lie in another file; `timestamp` of the Enable that says so.
    Chunk {
        /// When.
        timestamp: Timestamp,
        /// Which file.
        chunk: Chunk,
    },
    /// A transition; `changed` when it brought names, Configure's first included.
    Transition {
        /// When.
        timestamp: Timestamp,
        /// Which.
        service: Service,
        /// Whether the configuration changed by it.
        changed: bool,
        /// Where its datagram begins in the small file.
        offset: u64,
        /// How long that is.
        size: u32,
    },
}

/// Where one stream's part of a shot lies. The offset counts in the file of that chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When the shot was.
    pub timestamp: Timestamp,
    /// Number of the chunk file; 0 for the file that the stream begins with.
    pub chunk: u32,
    /// Where its datagram begins.
    pub offset: u64,
    /// How long that is; at most [`MAX_DATAGRAM`].
    pub size: u32,
}

/// A further file of a stream, in the same folder as the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, above those before it.
    pub number: u32,
    /// Its name, without any folder.
    pub file: String,
}

/// Reads one small file from its begin, or from where an earlier reader has stopped.
#[derive(Clone, Debug, Default)]
pub struct SmdReader {
    configuration: Configuration,
    position: u64,
    chunk: Option<Chunk>,
}

impl SmdReader {
    /// At the begin of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where an earlier reader stood: its configuration (read again from the file's Configure), position and chunk.
    pub fn resume(configuration: Configuration, position: u64, chunk: Option<Chunk>) -> Self {
        Self { configuration, position, chunk }
    }

    /// Where the next bytes are wanted from. In a closed file, less than its size means that it is cut or damaged.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The names as of now.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The chunk as of now; `None` for the file that the stream begins with.
    pub fn chunk(&self) -> Option<&Chunk> {
        self.chunk.as_ref()
    }

    /// Takes the file's bytes from [`SmdReader::position`] on and adds what they say to `entries`.
    ///
    /// # Errors
    /// Damage. What lay before it is in `entries`, the position is where it begins.
    pub fn read(&mut self, bytes: &[u8], entries: &mut Vec<Entry>) -> Result<(), FormatError> {
        for datagram in datagrams(bytes, self.position) {
            match datagram {
                Ok(datagram) => {
                    let entry = self.entry(&datagram)?;
                    entries.push(entry);
                    self.position += datagram.bytes.len() as u64;
                }
                Err(FormatError::Truncated { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&mut self, datagram: &Datagram<'_>) -> Result<Entry, FormatError> {
        let (timestamp, service) = (datagram.header.timestamp, datagram.header.service);
        // A datagram is far below 4 GiB: its header has been checked.
        let (offset, size) = (datagram.at, u32::try_from(datagram.bytes.len()).unwrap_or(u32::MAX));
        match service {
            Service::L1Accept => {
                let (offset, size) = place(datagram, &self.configuration)?;
                let chunk = self.chunk.as_ref().map_or(0, |chunk| chunk.number);
                return Ok(Entry::Event(Place { timestamp, chunk, offset, size }));
            }
            Service::Configure => {
                self.configuration = Configuration::of(datagram)?;
                return Ok(Entry::Transition { timestamp, service, changed: true, offset, size });
            }
            Service::Enable => {
                let chunk = chunk(datagram, &self.configuration)?;
                let present = self.chunk.as_ref().map_or(0, |chunk| chunk.number);
                if let Some(chunk) = chunk.filter(|chunk| chunk.number > present) {
                    self.chunk = Some(chunk.clone());
                    return Ok(Entry::Chunk { timestamp, chunk });
                }
            }
            _ => {}
        }
        let changed = self.configuration.update(datagram)?;
        Ok(Entry::Transition { timestamp, service, changed, offset, size })
    }
}

/// Offset and size of the shot whose small datagram this is.
fn place(datagram: &Datagram<'_>, configuration: &Configuration) -> Result<(u64, u32), FormatError> {
    let corrupt = |why: &str| FormatError::corrupt("place of a shot", datagram.at, why);
    for part in values(datagram, configuration) {
        let part = part?;
        if part.names.detector != "smdinfo" {
            continue;
        }
        let number = |name: &str| Ok(part.get(name)?.and_then(|value| value.unsigned()));
        let (Some(offset), Some(size)) = (number("intOffset")?, number("intDgramSize")?) else {
            return Err(corrupt("without offset or size"));
        };
        let whole =
            u32::try_from(size).ok().filter(|size| (HEADER..=MAX_DATAGRAM).contains(&(*size as usize)));
        let size = whole.ok_or_else(|| corrupt(&format!("a size of {size} bytes cannot be")))?;
        if offset.checked_add(u64::from(size)).is_none() {
            return Err(corrupt("its end is beyond all"));
        }
        return Ok((offset, size));
    }
    Err(corrupt("its event has none"))
}

/// The further file that an Enable announces. The first segment's word counts, as it does for psana.
///
/// # Errors
/// A name that is no plain file name.
pub fn chunk(datagram: &Datagram<'_>, configuration: &Configuration) -> Result<Option<Chunk>, FormatError> {
    let corrupt = |why: String| FormatError::corrupt("chunk", datagram.at, why);
    let mut first: Option<(u32, Chunk)> = None;
    for part in values(datagram, configuration) {
        let part = part?;
        if part.names.detector != "chunkinfo"
            || first.as_ref().is_some_and(|(seg, _)| *seg <= part.names.segment)
        {
            continue;
        }
        let number = part.get("chunkid")?.and_then(|value| value.unsigned());
        let number = number.and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or_else(|| corrupt("it has no number".to_owned()))?;
        let file = part.get("filename")?.and_then(|value| value.text());
        let file = file.ok_or_else(|| corrupt("it has no file name".to_owned()))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if file.is_empty() || file.starts_with('.') || !file.bytes().all(plain) {
            return Err(corrupt(format!("`{file}` is no plain file name")));
        }
        first = Some((part.names.segment, Chunk { number, file: file.to_owned() }));
    }
    Ok(first.map(|(_, chunk)| chunk))
}
