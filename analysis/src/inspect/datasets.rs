//! HDF5, CBF and NumPy files.

use super::{Report, sums};
use crate::formats::cbf::Cbf;
use crate::formats::h5::{DynStorage, H5, Table};
use crate::formats::{FormatError, npy as format};
use crate::geometry;

/// An HDF5 file: its datasets, and of those with images how they are stored.
pub(super) fn hdf5(mut report: Report, storage: DynStorage) -> Report {
    report.format = "HDF5".into();
    if let Err(error) = fill(&mut report, storage) {
        report.fault(&error);
    }
    report
}

fn fill(report: &mut Report, storage: DynStorage) -> Result<(), FormatError> {
    let file = H5::open(storage)?;
    if let Some(definition) = file.text("/entry/definition") {
        report.format = format!("HDF5 ({definition})").into();
    } else if file.has("/cxi_version") {
        report.format = "HDF5 (CXI)".into();
    }
    report.datasets = file.list()?;
    for path in file.images()? {
        let said = match file.table(&path) {
            Ok(table) => stored(&table, report.bytes),
            Err(error) => format!("cannot be indexed: {error}"),
        };
        report.facts.push((format!("images in {path}"), said));
    }
    let linked = file.linked();
    if !linked.is_empty() {
        report.facts.push(("images in other files".to_owned(), linked.join(", ")));
    } else if let Err(error @ FormatError::Elsewhere { .. }) = file.detector("") {
        report.facts.push(("images".to_owned(), error.to_string()));
    }
    shot(report, &file.shots(None).of(0));
    Ok(())
}

/// How a dataset's images are stored in a file of that many bytes.
fn stored(table: &Table, file: u64) -> String {
    let layout = &table.layout;
    let there = table.images.iter().flatten().count();
    let chunks = || table.images.iter().flatten().flatten();
    let bytes: u64 = chunks().map(|chunk| chunk.end - chunk.start).sum();
    let mut said =
        format!("{there} of {} images of {} {}", layout.frames, layout.shape, layout.element.word());
    let mut add = |more: String| said = format!("{said}, {more}");
    if layout.chunks() > 1 {
        add(format!("{} chunks each", layout.chunks()));
    }
    let filters: Vec<String> = layout.filters.iter().map(ToString::to_string).collect();
    add(if filters.is_empty() { "no filter".to_owned() } else { filters.join(", ") });
    add(format!("{bytes} bytes"));
    match chunks().filter(|chunk| chunk.end > file).count() {
        0 => {}
        cut => add(format!("{cut} chunks lie behind the file's end")),
    }
    said
}

fn shot(report: &mut Report, shot: &crate::frame::Shot) {
    if let Some(energy) = shot.photon_energy {
        report.facts.push(("photon energy".to_owned(), format!("{energy:.1} eV")));
    }
    if let Some(distance) = shot.detector_distance {
        report.facts.push(("detector distance".to_owned(), format!("{distance:.5} m")));
    }
}

/// A CBF file.
pub(super) fn cbf(mut report: Report, bytes: &[u8]) -> Report {
    report.format = "CBF".into();
    let cbf = match Cbf::read(bytes) {
        Ok(cbf) => cbf,
        Err(error) => {
            report.fault(&error.general());
            return report;
        }
    };
    match cbf.frame() {
        Ok(frame) => report.facts.push(("image".to_owned(), format!("{} i32", frame.shape))),
        Err(error) => report.fault(&error.general()),
    }
    shot(&mut report, &cbf.shot());
    let geometry = match geometry::cbf::read(&cbf) {
        Ok(geometry) => {
            format!("{} panels at {:.5} m", geometry.panels.len(), geometry.distance)
        }
        Err(error) => format!("none: {error}"),
    };
    report.facts.push(("geometry".to_owned(), geometry));
    report.facts.push(("sums of the sections".to_owned(), sums(&cbf)));
    report
}

/// A NumPy array.
pub(super) fn npy(mut report: Report, bytes: &[u8]) -> Report {
    report.format = "NumPy array".into();
    match format::read(bytes) {
        Ok(array) => {
            report.facts.push(("array".to_owned(), format!("{:?} {}", array.dims, array.element.word())));
            let values = array.to_f32();
            let finite = values.iter().filter(|value| value.is_finite());
            let (least, most) =
                finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            report.facts.push(("values".to_owned(), format!("{least} to {most}")));
        }
        Err(error) => report.fault(&error),
    }
    report
}
