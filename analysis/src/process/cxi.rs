//! The spots of hits as the CXI peak list that Cheetah writes and CrystFEL reads (`--peaks=cxi`): counts in
//! `/entry_1/result_1/nPeaks`, places and intensities in arrays of as many columns as the richest image has spots. Beside them,
//! where they are wanted, the images: CrystFEL looks for a peak list in the file of its images.
//!
//! Places are indices of the data array as Cheetah and CrystFEL lay it out in one plane ([`slab`]), whole numbers the centres of
//! pixels, which is what CrystFEL expects of such files (it adds the half pixel itself).

use std::io::{Seek, Write};

use hdf5_writer::{AttributeBuilder, DatasetBuilder, Error, Hdf5Builder, Hdf5Writer, WriteOptions};

use super::table::{Row, unix_seconds};
use crate::frame::Shape;
use crate::geometry::Geometry;
use crate::pipeline::Spot;

/// An array's name, and what of a spot stands in it.
type Column<'c> = (&'c str, &'c dyn Fn(&Spot) -> f32);

/// Of how many modules a column of the plane consists: the counterpart of [`crate::geometry::Geometry::for_shape`]. The CSPAD's
/// 32 sections stand as four quadrants of eight side by side (1480 x 1552), all others below each other (Jungfrau 4M: 4096 x
/// 1024).
fn blocks_down(shape: Shape) -> usize {
    if (shape.panels, shape.rows, shape.columns) == (32, 185, 388) { 8 } else { shape.panels.max(1) }
}

/// The rows and columns of the plane.
pub fn slab(shape: Shape) -> (usize, usize) {
    let down = blocks_down(shape);
    (down * shape.rows, shape.panels.div_ceil(down) * shape.columns)
}

/// A spot's place in the plane: along its columns (x, fast) and rows (y, slow).
#[allow(clippy::cast_precision_loss)] // a plane has far fewer than 2^23 columns
pub fn place(spot: &Spot, shape: Shape) -> [f32; 2] {
    let (down, panel) = (blocks_down(shape), usize::from(spot.panel));
    let (left, top) = (panel / down * shape.columns, panel % down * shape.rows);
    [left as f32 + spot.fast, top as f32 + spot.slow]
}

/// The images that stand beside the lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// Calibrated `f32`, little endian, image after image of rows of the plane ([`laid`]).
    pub values: Vec<u8>,
    /// One plane for all of them: 1 where a pixel is bad.
    pub mask: Vec<u16>,
}

/// An image's pixels, panel after panel, laid out in the plane ([`slab`]); zero where there is none.
pub fn laid<T: Copy + Default>(pixels: &[T], shape: Shape) -> Vec<T> {
    let ((rows, columns), down) = (slab(shape), blocks_down(shape));
    let mut plane = vec![T::default(); rows * columns];
    for (number, row) in pixels.chunks_exact(shape.columns.max(1)).enumerate() {
        let (panel, line) = (number / shape.rows, number % shape.rows);
        let at = (panel % down * shape.rows + line) * columns + panel / down * shape.columns;
        plane[at..at + row.len()].copy_from_slice(row);
    }
    plane
}

/// The geometry of the plane for that of the panels of that shape: the counterpart of [`Geometry::for_shape`].
pub fn plane(geometry: &Geometry, shape: Shape) -> Geometry {
    let down = blocks_down(shape);
    let mut plane = geometry.clone();
    for panel in &mut plane.panels {
        let (row, column) = (panel.panel % down * shape.rows, panel.panel / down * shape.columns);
        panel.rows = panel.rows.start + row..panel.rows.end + row;
        panel.columns = panel.columns.start + column..panel.columns.end + column;
        panel.panel = 0;
    }
    plane
}

/// Writes the hits among rows that all have images of one shape, with their images where they are given. Without hits the lists
/// are empty, but there.
pub fn write<W: Write + Seek>(
    rows: &[&Row],
    shape: Shape,
    planes: Option<Planes>,
    to: W,
) -> Result<(), Error> {
    let most = rows.iter().map(|row| row.spots.len()).max().unwrap_or(0).max(1);
    let lists = [rows.len() as u64, most as u64];
    let spots = |of: &dyn Fn(&Spot) -> f32| -> Vec<f32> {
        let line = |row: &&Row| {
            let mut line: Vec<f32> = row.spots.iter().map(of).collect();
            line.resize(most, 0.0);
            line
        };
        rows.iter().flat_map(line).collect()
    };
    #[allow(clippy::cast_precision_loss)] // spots have far fewer than 2^23 pixels
    let columns: [Column<'_>; 8] = [
        ("peakXPosRaw", &|spot| place(spot, shape)[0]),
        ("peakYPosRaw", &|spot| place(spot, shape)[1]),
        ("peakTotalIntensity", &|spot| spot.intensity),
        ("peakMaximumValue", &|spot| spot.peak),
        ("peakSNR", &|spot| spot.snr),
        ("peakNPixels", &|spot| spot.pixels as f32),
        ("peakBackground", &|spot| spot.background),
        ("peakResolutionAngstrom", &|spot| spot.resolution),
    ];
    let one = [rows.len() as u64];
    let counts: Vec<i32> =
        rows.iter().map(|row| i32::try_from(row.spots.len()).unwrap_or(i32::MAX)).collect();
    let mut file = Hdf5Builder::new()
        .dataset(DatasetBuilder::typed_data("cxi_version", [1], &[150_i32])?)
        .dataset(DatasetBuilder::typed_data("entry_1/result_1/nPeaks", one, &counts)?);
    for (name, of) in columns {
        file =
            file.dataset(DatasetBuilder::typed_data(format!("entry_1/result_1/{name}"), lists, &spots(of))?);
    }
    let (slow, fast) = slab(shape);
    if let Some(Planes { values, mask }) = planes {
        let plane = [slow as u64, fast as u64];
        let data = [rows.len() as u64, plane[0], plane[1]];
        file = file
            .dataset(DatasetBuilder::typed::<f32>("entry_1/data_1/data", data).raw_data(values))
            .dataset(DatasetBuilder::typed_data("entry_1/data_1/mask", plane, &mask)?);
    }
    let layout = format!(
        "indices of a plane of {slow} x {fast} pixels (slow x fast), whole numbers are pixel centres"
    );
    file = file.group_attribute("entry_1/result_1", AttributeBuilder::fixed_string("layout", layout));
    // What tells the images apart, and what a geometry file may ask for.
    let energies: Vec<f64> = rows.iter().map(|row| row.numbers.photon_energy.unwrap_or(f64::NAN)).collect();
    let seconds = |row: &&Row| unix_seconds(&row.image.event);
    #[allow(clippy::cast_possible_truncation)] // seconds since 1970 and nanoseconds of one
    let whole: Vec<i32> = rows.iter().map(|row| seconds(row).map_or(0, |s| s.floor() as i32)).collect();
    #[allow(clippy::cast_possible_wrap)] // below 10^9
    let nanoseconds: Vec<i32> = rows.iter().map(|row| nanoseconds(row) as i32).collect();
    let fiducials: Vec<i32> = rows.iter().map(|row| fiducial(row)).collect();
    let events: Vec<String> = rows.iter().map(|row| row.image.to_string()).collect();
    file = file
        .dataset(DatasetBuilder::typed_data("LCLS/photon_energy_eV", one, &energies)?)
        .dataset(DatasetBuilder::typed_data("LCLS/machineTime", one, &whole)?)
        .dataset(DatasetBuilder::typed_data("LCLS/machineTimeNanoSeconds", one, &nanoseconds)?)
        .dataset(DatasetBuilder::typed_data("LCLS/fiducial", one, &fiducials)?);
    if !events.is_empty() {
        file = file.dataset(DatasetBuilder::fixed_string_data("entry_1/result_1/image", one, &events)?);
    }
    Hdf5Writer::new(to, WriteOptions::default()).finish(file.into_plan()?)?;
    Ok(())
}

fn nanoseconds(row: &Row) -> u32 {
    match row.image.event {
        lightrail_topics::EventId::Time { nanoseconds, .. } => nanoseconds.min(999_999_999),
        lightrail_topics::EventId::Frame { .. } => 0,
    }
}

fn fiducial(row: &Row) -> i32 {
    match row.image.event {
        lightrail_topics::EventId::Time { fiducial: Some(fiducial), .. } => {
            i32::try_from(fiducial).unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Panel;

    proptest! {
        #[test]
        fn the_plane_is_the_one_that_crystfels_geometries_are_for(panel in 0_u16..32, fast in 0_usize..388, slow in 0_usize..185) {
            let shape = Shape { panels: 32, rows: 185, columns: 388 };
            prop_assert_eq!(slab(shape), (1480, 1552));
            #[allow(clippy::cast_precision_loss)] // small numbers
            let spot = Spot {
                panel, fast: fast as f32, slow: slow as f32, intensity: 1.0, peak: 1.0, background: 0.0, sigma: 1.0,
                snr: 1.0, pixels: 1, resolution: 1.0,
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small numbers
            let [x, y] = place(&spot, shape).map(|v| v as usize);
            // A geometry of that one pixel of the plane, laid on the stack of panels, is that pixel of that panel.
            let one = |x: usize, y: usize| Panel {
                name: "p".into(), panel: 0, rows: y..y + 1, columns: x..x + 1, origin: [0.0, 0.0, 0.1],
                fast: [1e-4, 0.0, 0.0], slow: [0.0, 1e-4, 0.0],
            };
            let panels = vec![one(x, y), one(1551, 1479)];
            let laid = Geometry { panels, distance: 0.1 }.for_shape(shape).unwrap();
            prop_assert_eq!(laid.panels[0].panel, usize::from(panel));
            prop_assert_eq!((laid.panels[0].columns.start, laid.panels[0].rows.start), (fast, slow));
            // And back: the geometry of the plane, and the pixel in it.
            prop_assert_eq!(super::plane(&laid, shape).panels[0].clone(), one(x, y));
            let mut pixels = vec![0_u16; shape.len()];
            pixels[usize::from(panel) * shape.panel_len() + slow * 388 + fast] = 7;
            let flat = super::laid(&pixels, shape);
            prop_assert_eq!(flat.iter().position(|pixel| *pixel == 7), Some(y * 1552 + x));
        }
    }
}
