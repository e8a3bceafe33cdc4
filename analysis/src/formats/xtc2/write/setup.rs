//! What a written stream has: a detector's segments, and if wanted the beam's and the timing system's data, with the names
//! and fields that the real DAQ gives them.

use std::io;

use super::build::{Builder, Cell};
use super::{Event, refused};
use crate::formats::xtc2::datagram::Timestamp;
use crate::formats::xtc2::names::{Algorithm, Field, FieldType, Names, NamesId, Version};

/// Bits of event codes that the timing system sends.
const EVENT_CODES: u16 = 288;
/// The node of the small file's own names: one that the DAQ does not use.
const SMD_NODE: u16 = 512;

/// What a stream has.
#[derive(Clone, Debug)]
pub struct StreamSetup {
    pub(super) experiment: String,
    pub(super) run: u32,
    pub(super) run_info: Names,
    pub(super) chunk_info: Names,
    pub(super) smd_info: Names,
    segments: Vec<Names>,
    /// Beside each segment what its pixels are set to; empty where the detector has no such setting.
    settings: Vec<Names>,
    shape: Vec<u32>,
    beam: Option<Names>,
    timing: Option<Names>,
    node: u16,
}

impl StreamSetup {
    /// A stream of segments of a Jungfrau (`raw 0.2.0`), each of `shape` panels x rows x columns: for real modules
    /// `[1, 512, 1024]`. `node` (1 to 511) is the sender's number, another for each stream of a run.
    pub fn jungfrau(
        experiment: &str,
        run: u32,
        node: u16,
        detector: &str,
        segments: &[u32],
        shape: [u32; 3],
    ) -> Self {
        let fields = [
            Field::new("raw", FieldType::U16, 3),
            Field::new("frame_cnt", FieldType::U64, 0),
            Field::new("timestamp", FieldType::U64, 0),
            Field::new("hotPixelThresh", FieldType::U16, 0),
            Field::new("numHotPixels", FieldType::U32, 0),
            Field::new("maxHotPixels", FieldType::U32, 0),
        ];
        let raw = Algorithm::new("raw", Version::new(0, 2, 0));
        let names = of_segments(node, detector, "jungfrau", segments, 0, &raw, &fields);
        Self::new(experiment, run, node, names, &shape)
    }

    /// A stream of panels of an `ePix10ka` (`raw 2.0.1`), 352 x 384 pixels each, all of them set to switch from high to low gain
    /// by themselves. `node` as for the Jungfrau.
    pub fn epix10ka(experiment: &str, run: u32, node: u16, detector: &str, segments: &[u32]) -> Self {
        let fields = [Field::new("raw", FieldType::U16, 2), Field::new("aux", FieldType::U16, 2)];
        let raw = Algorithm::new("raw", Version::new(2, 0, 1));
        let names = of_segments(node, detector, "epix10ka", segments, 0, &raw, &fields);
        let mut setup = Self::new(experiment, run, node, names, &[352, 384]);
        let fields = [Field::new("asicPixelConfig", FieldType::U8, 3), Field::new("trbit", FieldType::U8, 1)];
        let config = Algorithm::new("config", Version::new(2, 0, 0));
        setup.settings = of_segments(node, detector, "epix10ka", segments, 0x80, &config, &fields);
        setup
    }

    fn new(experiment: &str, run: u32, node: u16, segments: Vec<Names>, shape: &[u32]) -> Self {
        let own = |id, name: &str, kind: &str, algorithm, fields: &[Field]| Names {
            id,
            detector: name.to_owned(),
            kind: kind.to_owned(),
            serial: String::new(),
            segment: 0,
            algorithm,
            fields: fields.to_vec(),
        };
        let text = |name| Field::new(name, FieldType::Text, 1);
        let number = |name| Field::new(name, FieldType::U32, 0);
        let place = |name| Field::new(name, FieldType::U64, 0);
        let micro = |name| Algorithm::new(name, Version::new(0, 0, 1));
        Self {
            experiment: experiment.to_owned(),
            run,
            run_info: own(
                NamesId::new(node, 0xff),
                "runinfo",
                "runinfo",
                micro("runinfo"),
                &[text("expt"), number("runnum")],
            ),
            chunk_info: own(
                NamesId::new(node, 0xfc),
                "chunkinfo",
                "chunkinfo",
                micro("chunkinfo"),
                &[text("filename"), number("chunkid")],
            ),
            smd_info: own(
                NamesId::new(SMD_NODE, 0),
                "smdinfo",
                "offset",
                Algorithm::new("offsetAlg", Version::default()),
                &[place("intOffset"), place("intDgramSize")],
            ),
            segments,
            settings: Vec::new(),
            shape: shape.to_vec(),
            beam: None,
            timing: None,
            node,
        }
    }

    /// The same with the electron beam's data (`ebeamh`, `raw 2.0.0`): photon energy per shot.
    #[must_use]
    pub fn with_beam(mut self) -> Self {
        let floats = [
            "ebeamCharge",
            "ebeamL3Energy",
            "ebeamLTUPosX",
            "ebeamLTUPosY",
            "ebeamLUTAngX",
            "ebeamLTUAngY",
            "ebeamPkCurrBC2",
            "ebeamEnergyBC2",
            "ebeamPkCurrBC1",
            "ebeamEnergyBC1",
            "ebeamUndPosX",
            "ebeamUndPosY",
            "ebeamUndAngX",
            "ebeamUndAngY",
            "ebeamXTCAVAmpl",
            "ebeamXTCAVPhase",
            "ebeamDumpCharge",
            "ebeamPhotonEnergy",
            "ebeamLTU250",
            "ebeamLTU450",
        ];
        let mut fields = vec![Field::new("damageMask", FieldType::U32, 0)];
        fields.extend(floats.map(|name| Field::new(name, FieldType::F64, 0)));
        self.beam = Some(self.extra(0xf0, "ebeamh", "ebeamh", Version::new(2, 0, 0), fields));
        self
    }

    /// The same with the timing system's data (`timing`, `raw 2.1.0`): pulse id and event codes per shot.
    #[must_use]
    pub fn with_timing(mut self) -> Self {
        let fields = [
            ("pulseId", FieldType::U64, 0),
            ("timeStamp", FieldType::U64, 0),
            ("fixedRates", FieldType::U8, 1),
            ("acRates", FieldType::U8, 1),
            ("timeSlot", FieldType::U8, 0),
            ("timeSlotPhase", FieldType::U16, 0),
            ("ebeamPresent", FieldType::U8, 0),
            ("ebeamDestn", FieldType::U8, 0),
            ("ebeamCharge", FieldType::U16, 0),
            ("ebeamEnergy", FieldType::U16, 1),
            ("xWavelength", FieldType::U16, 1),
            ("dmod5", FieldType::U16, 0),
            ("mpsLimits", FieldType::U8, 1),
            ("mpsPowerClass", FieldType::U8, 1),
            ("sequenceValues", FieldType::U16, 1),
        ];
        let fields = fields.map(|(name, kind, rank)| Field::new(name, kind, rank)).to_vec();
        self.timing = Some(self.extra(0xf1, "timing", "ts", Version::new(2, 1, 0), fields));
        self
    }

    fn extra(&self, id: u8, detector: &str, kind: &str, version: Version, fields: Vec<Field>) -> Names {
        Names {
            id: NamesId::new(self.node, id),
            detector: detector.to_owned(),
            kind: kind.to_owned(),
            serial: "simulated".to_owned(),
            segment: 0,
            algorithm: Algorithm::new("raw", version),
            fields,
        }
    }

    pub(super) fn node(&self) -> u16 {
        self.node
    }

    pub(super) fn all_names(&self) -> impl Iterator<Item = &Names> {
        let own = [&self.run_info, &self.chunk_info];
        self.segments.iter().chain(&self.settings).chain(&self.beam).chain(&self.timing).chain(own)
    }

    /// What Configure says of the pixels.
    pub(super) fn put_settings(&self, builder: &mut Builder) -> io::Result<()> {
        const ASICS: [u32; 3] = [4, 176, 192];
        let pixels = vec![0; 4 * 176 * 192];
        for names in &self.settings {
            builder.data(names, &[Cell::U8s(&ASICS, &pixels), Cell::U8s(&[4], &[1; 4])])?;
        }
        Ok(())
    }

    /// The detector's part of an event, and the beam's.
    pub(super) fn put_image(
        &self,
        builder: &mut Builder,
        timestamp: Timestamp,
        count: u64,
        event: &Event<'_>,
    ) -> io::Result<()> {
        if event.segments.len() != self.segments.len() {
            let (given, wanted) = (event.segments.len(), self.segments.len());
            return Err(refused(&format!("{given} segments are given, the stream has {wanted}")));
        }
        for (names, pixels) in self.segments.iter().zip(event.segments) {
            if self.settings.is_empty() {
                let cells = [
                    Cell::U16s(&self.shape, pixels),
                    Cell::U64(count),
                    Cell::U64(timestamp.0),
                    Cell::U16(0),
                    Cell::U32(0),
                    Cell::U32(0),
                ];
                builder.data(names, &cells)?;
            } else {
                let aux = [0; 4 * 384];
                builder.data(names, &[Cell::U16s(&self.shape, pixels), Cell::U16s(&[4, 384], &aux)])?;
            }
        }
        if let (Some(names), Some(energy)) = (&self.beam, event.photon_energy) {
            let cell = |field: &Field| match field.name.as_str() {
                "damageMask" => Cell::U32(0),
                "ebeamPhotonEnergy" => Cell::F64(energy),
                _ => Cell::F64(0.0),
            };
            let cells: Vec<Cell<'_>> = names.fields.iter().map(cell).collect();
            builder.data(names, &cells)?;
        }
        Ok(())
    }

    /// The timing system's part of an event; always of the same length.
    pub(super) fn put_timing(
        &self,
        builder: &mut Builder,
        timestamp: Timestamp,
        (pulse_id, event_codes): (u64, &[u16]),
    ) -> io::Result<()> {
        if let Some(names) = &self.timing {
            let mut codes = [0u16; EVENT_CODES as usize / 16];
            for code in event_codes {
                let word = codes.get_mut(usize::from(code / 16));
                *word.ok_or_else(|| refused(&format!("{code} is no event code")))? |= 1 << (code % 16);
            }
            let cells = [
                Cell::U64(pulse_id),
                Cell::U64(timestamp.0),
                Cell::U8s(&[10], &[0; 10]),
                Cell::U8s(&[6], &[0; 6]),
                Cell::U8(0),
                Cell::U16(0),
                Cell::U8(1),
                Cell::U8(0),
                Cell::U16(0),
                Cell::U16s(&[4], &[0; 4]),
                Cell::U16s(&[2], &[0; 2]),
                Cell::U16(0),
                Cell::U8s(&[16], &[0; 16]),
                Cell::U8s(&[16], &[0; 16]),
                Cell::U16s(&[18], &codes),
            ];
            builder.data(names, &cells)?;
        }
        Ok(())
    }
}

/// The names of a detector's segments in a stream, numbered from `first` on.
fn of_segments(
    node: u16,
    detector: &str,
    kind: &str,
    segments: &[u32],
    first: u8,
    algorithm: &Algorithm,
    fields: &[Field],
) -> Vec<Names> {
    let names = |(place, segment): (usize, &u32)| Names {
        id: NamesId::new(node, u8::try_from(place).unwrap_or(u8::MAX).saturating_add(first)),
        detector: detector.to_owned(),
        kind: kind.to_owned(),
        serial: format!("simulated-{segment}"),
        segment: *segment,
        algorithm: algorithm.clone(),
        fields: fields.to_vec(),
    };
    segments.iter().enumerate().map(names).collect()
}
