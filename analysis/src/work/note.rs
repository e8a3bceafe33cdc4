//! What a worker writes beside a partition's committed position, for whoever works there next: which images may have been
//! begun, which one was begun how often, and up to where results may exist already. Text of a few words, parsed leniently:
//! an unreadable note costs care, never an image.

use std::fmt;

/// A note beside the position of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Images at the position and after it, below this offset, may have been begun by somebody who did not end well.
    pub until: i64,
    /// The image that was begun alone, and how often, this time included.
    pub alone: Option<(i64, u32)>,
    /// Images below this offset may have results: the group's positions were lost.
    pub replay: Option<i64>,
}

impl Note {
    /// Nothing was begun, nothing lost.
    pub const CLEAN: Self = Self { until: 0, alone: None, replay: None };

    /// Reads a note; what it does not know is passed over.
    pub fn parse(text: &str) -> Self {
        let mut note = Self::CLEAN;
        for word in text.split(' ') {
            match word.split_once('=') {
                Some(("until", at)) => note.until = at.parse().unwrap_or(0),
                Some(("replay", at)) => note.replay = at.parse().ok(),
                Some(("alone", what)) => {
                    note.alone = what
                        .split_once('*')
                        .and_then(|(at, times)| Some((at.parse().ok()?, times.parse().ok()?)));
                }
                _ => {}
            }
        }
        note
    }

    /// How often the image at `offset` was begun by workers that ended before they had its result.
    pub fn begun(&self, offset: i64) -> u32 {
        match self.alone {
            Some((at, times)) if at == offset => times,
            _ => u32::from(offset < self.until),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "until={}", self.until)?;
        if let Some((at, times)) = self.alone {
            write!(f, " alone={at}*{times}")?;
        }
        if let Some(end) = self.replay {
            write!(f, " replay={end}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_note_is_read_as_it_was_written(
            until in 0_i64.., alone in proptest::option::of((0_i64.., 0_u32..)), replay in proptest::option::of(0_i64..),
        ) {
            let note = Note { until, alone, replay };
            prop_assert_eq!(Note::parse(&note.to_string()), note);
        }

        #[test]
        fn any_text_is_a_note(text in ".*") {
            let _ = Note::parse(&text);
        }
    }

    #[test]
    fn a_note_tells_how_often_an_image_was_begun() {
        let note = Note::parse("until=10 alone=7*3 later=x");
        assert_eq!([6, 7, 9, 10].map(|offset| note.begun(offset)), [1, 3, 1, 0]);
        assert_eq!(Note::parse("").begun(0), 0);
    }
}
