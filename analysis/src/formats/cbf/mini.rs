//! The comment header of DECTRIS' Pilatus and Eiger CBF files (`_array_data.header_contents`): lines such as
//! `# Detector_distance 0.2 m`. What a line says in a form that is not understood is taken as not said.

/// What the header says; lengths in metres, wavelength in angstrom, the beam in pixels (column, row) from the corner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mini {
    /// Angstrom.
    pub wavelength: Option<f64>,
    /// From sample to detector.
    pub distance: Option<f64>,
    /// Along rows and columns.
    pub pixel_size: Option<[f64; 2]>,
    /// Column and row where the beam meets the detector.
    pub beam: Option<[f64; 2]>,
    /// Counts above are saturated.
    pub count_cutoff: Option<f64>,
}

impl Mini {
    /// Reads the header's text.
    pub fn read(text: &str) -> Self {
        let mut mini = Self::default();
        for line in text.lines() {
            let line = line.trim_start_matches(['#', ' ', '\t']);
            let words: Vec<&str> = line
                .split([' ', '\t', '(', ')', ',', ':', '=', '\r'])
                .filter(|word| !word.is_empty())
                .collect();
            let [key, values @ ..] = words.as_slice() else { continue };
            let numbers: Vec<f64> =
                values.iter().filter_map(|v| v.parse().ok()).filter(|v: &f64| v.is_finite()).collect();
            let pair = || numbers.get(..2).map(|two| [two[0], two[1]]);
            match *key {
                "Wavelength" => mini.wavelength = numbers.first().copied(),
                "Detector_distance" => mini.distance = numbers.first().copied(),
                "Pixel_size" => mini.pixel_size = pair().filter(|size| size.iter().all(|v| *v > 0.0)),
                "Beam_xy" => mini.beam = pair(),
                "Count_cutoff" => mini.count_cutoff = numbers.first().copied(),
                _ => {}
            }
        }
        mini
    }
}
