//! The hits' images beside their spots, as CXI files of Cheetah's layout and the geometry and list that CrystFEL needs for them:
//! `indexamajig -g hits.geom -i hits.lst --peaks=cxi`. Reads and calibrates the hits once more, so that nobody who does not ask
//! for their images pays for them; holds a few hundred MiB of them at a time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use lightrail_topics::ImageKey;
use lightrail_topics::events::{Image, Outcome};

use super::cxi::{self, Planes};
use super::table::Row;
use super::work::{Prepared, Tables, Unready, Working, bytes};
use crate::detectors::Kind;
use crate::geometry::crystfel;
use crate::pipeline::{Chain, Workspace};
use crate::trial::Unit;

/// Bytes of images in a file; one image may be more.
const MOST: usize = 256 << 20;

/// The images of one file.
struct Piece<'r> {
    chain: Arc<Chain>,
    rows: Vec<&'r Row>,
    values: Vec<u8>,
}

/// Writes the hits among the rows by `whole`, which makes a file of what it is given; the files that were written.
///
/// # Errors
/// When a hit can no longer be read, or a file not be written.
pub async fn write(
    out: &Path,
    working: &Working<'_>,
    images: Vec<Image>,
    rows: &[Row],
    whole: impl Fn(&Path, &mut dyn FnMut(std::fs::File) -> anyhow::Result<()>) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut of_key: HashMap<ImageKey, Image> =
        images.into_iter().map(|image| (image.image.clone(), image)).collect();
    let (mut tables, mut written) = (Tables::new(working.cores()), Vec::new());
    let mut piece: Option<Piece<'_>> = None;
    for row in rows.iter().filter(|row| row.outcome == Outcome::Hit) {
        let Some(image) = of_key.remove(&row.image) else { continue };
        let (chain, plane) = calibrated(working, &mut tables, image).await?;
        let is_full =
            |piece: &Piece<'_>| !Arc::ptr_eq(&piece.chain, &chain) || piece.values.len() + plane.len() > MOST;
        if let Some(full) = piece.take_if(|piece| is_full(piece)) {
            written.push(full.write(out, written.len(), &whole)?);
        }
        let into = piece.get_or_insert_with(|| Piece { chain, rows: Vec::new(), values: Vec::new() });
        into.rows.push(row);
        into.values.extend(plane);
    }
    let Some(last) = piece else { return Ok(written) };
    let chain = Arc::clone(&last.chain);
    let distance = last.rows.last().and_then(|row| row.numbers.detector_distance);
    written.push(last.write(out, written.len(), &whole)?);
    let names = written.iter().filter_map(|path| path.file_name()?.to_str());
    let list = names.fold(String::new(), |all, name| all + name + "\n");
    for (name, text) in [("hits.lst", list), ("hits.geom", geometry(&chain, distance))] {
        written.push(whole(&out.join(name), &mut |mut file| {
            Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
        })?);
    }
    Ok(written)
}

/// A hit's calibrated image, laid out in one plane, and the chain that it was calibrated by.
async fn calibrated(
    working: &Working<'_>,
    tables: &mut Tables,
    image: Image,
) -> anyhow::Result<(Arc<Chain>, Vec<u8>)> {
    let key = image.image.clone();
    let extents =
        bytes(working.files, working.source, &image).await.map_err(|bad| anyhow!("{key}: {}", bad.cause))?;
    let prepared = tables.prepare(working, &image, &extents).await.map_err(|unready| match unready {
        Unready::Image(bad) => anyhow!("{key}: {}", bad.cause),
        Unready::Trial(error) => anyhow!("{key}: {}", error.line()),
        Unready::Detector(error) => anyhow!("{key}: {}", error.line()),
        Unready::Stuck => anyhow!("{key}: no thread was free for it"),
    });
    let Prepared { decoder, chain } = prepared?;
    let plane = tokio::task::spawn_blocking(move || {
        let pieces: Vec<_> = image.extents.iter().zip(extents.iter().map(Vec::as_slice)).collect();
        let (frame, _) =
            decoder.decode(&image.image.event, &pieces).map_err(|error| anyhow!("{}", error.line()))?;
        let mut workspace = Workspace::default();
        let values = chain.values(&mut workspace, &frame)?;
        let plane = cxi::laid(values, frame.shape).into_iter().flat_map(f32::to_le_bytes).collect();
        Ok::<_, anyhow::Error>((chain, plane))
    });
    plane.await.context("a hit could not be calibrated once more")?.with_context(|| key.to_string())
}

impl Piece<'_> {
    fn write(
        self,
        out: &Path,
        number: usize,
        whole: impl Fn(&Path, &mut dyn FnMut(std::fs::File) -> anyhow::Result<()>) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<PathBuf> {
        let calibration = self.chain.calibration();
        let bad: Vec<u16> = calibration.mask().good.iter().map(|good| u16::from(!good)).collect();
        let mut planes = Some(Planes { values: self.values, mask: cxi::laid(&bad, calibration.shape()) });
        whole(&out.join(format!("hits-{:04}.cxi", number + 1)), &mut |file| {
            Ok(cxi::write(&self.rows, calibration.shape(), planes.take(), file)?)
        })
    }
}

/// CrystFEL's geometry of such a file, at the distance that the last hit had.
fn geometry(chain: &Chain, distance: Option<f64>) -> String {
    let parameters = chain.parameters();
    let plane = cxi::plane(chain.geometry(), chain.calibration().shape());
    let plane = distance.map_or_else(|| plane.clone(), |distance| plane.at_distance(distance));
    let mut text = crystfel::write(&plane, None);
    let scale = match (parameters.calibration.unit, parameters.detector.kind) {
        (Unit::Native, Kind::Jungfrau | Kind::Epix10ka | Kind::Epix100) => "adu_per_eV = 0.001\n",
        (Unit::Photon, _) | (Unit::Native, Kind::Counts) => "adu_per_photon = 1\n",
        (Unit::Native, _) => {
            "; how much a photon gives is not known: set adu_per_photon\nadu_per_photon = 1\n"
        }
    };
    // What stands before the first panel holds for all.
    let first = text.find("\n\n").map_or(text.len(), |at| at + 1);
    let mut head = String::from(scale);
    for (key, value) in [
        ("photon_energy", "/LCLS/photon_energy_eV"),
        ("data", "/entry_1/data_1/data"),
        ("mask", "/entry_1/data_1/mask"),
        ("mask_good", "0x0"),
        ("mask_bad", "0x1"),
        ("peak_list", "/entry_1/result_1"),
    ] {
        let _ = writeln!(head, "{key} = {value}");
    }
    text.insert_str(first, &head);
    text
}
