//! The images of an HDF5 file, or of those beside it to which a master file points: what the master says of photon energy,
//! distance and plane holds for them.

use std::sync::Arc;

use lightrail_topics::Lfn;

use super::{RunImages, Wanted};
use crate::formats::FormatError;
use crate::formats::h5::{H5, Shots};
use crate::frame::Shape;
use crate::geometry::Geometry;
use crate::index::Joined;
use crate::index::whole::{self, Masters, Whole};
use crate::source::{Location, Source, SourceError};

/// What an HDF5 file holds.
struct Hdf5 {
    whole: Result<Whole, FormatError>,
    shape: Option<Shape>,
    shots: Shots,
    file: Arc<H5>,
}

impl Hdf5 {
    /// The plane that it says images of this shape are.
    async fn plane(&self, shape: Option<Shape>) -> Option<Geometry> {
        let (file, shape) = (self.file.clone(), shape?);
        tokio::task::spawn_blocking(move || file.plane(shape)).await.ok().flatten()
    }
}

/// The images of a file, in order; what is wrong goes to the faults of `found`, the plane to its plane.
///
/// # Errors
/// When the file itself cannot be read.
pub(super) async fn of_hdf5(
    lfn: &Lfn,
    place: &Location,
    wanted: &Wanted,
    source: &Source,
    found: &mut RunImages,
) -> Result<Vec<Joined>, SourceError> {
    let of = match open(lfn, place, wanted, source).await? {
        Ok(of) => of,
        Err(error) => {
            found.faults.push(format!("{place}: {error}"));
            return Ok(Vec::new());
        }
    };
    if found.plane.is_none() {
        found.plane = of.plane(of.shape).await;
    }
    let files = match &of.whole {
        Err(FormatError::Elsewhere { files, .. }) if !files.is_empty() => files.clone(),
        _ => return Ok(taken(place, of.whole, found)),
    };
    let (mut images, mut masters) = (Vec::new(), Masters::default());
    masters.add(lfn, &files, of.shots.clone());
    for name in files {
        let Some(lfn) = whole::beside(lfn, &name) else {
            found.faults.push(format!("{place}: its images in {name} are not beside it; name that file"));
            continue;
        };
        let place = place.beside(lfn.file_name());
        let linked = match open(&lfn, &place, wanted, source).await {
            Ok(linked) => linked,
            Err(error) if error.concerns_file() => {
                found.faults.push(format!("{error}; its images are missing"));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let (Ok(linked), None) = (&linked, &found.plane) {
            found.plane = of.plane(linked.shape).await;
        }
        let linked = linked.and_then(|linked| linked.whole);
        if let Ok(whole) = &linked {
            masters.count(&lfn, whole);
        }
        let mut own = taken(&place, linked, found);
        masters.complete(&lfn, &mut own);
        images.extend(own);
    }
    Ok(images)
}

fn taken(place: &Location, whole: Result<Whole, FormatError>, found: &mut RunImages) -> Vec<Joined> {
    match whole {
        Ok(Whole { images, missing }) => {
            if !missing.is_empty() {
                let missing = missing.len();
                found.faults.push(format!("{place}: {missing} images are not (wholly) stored"));
            }
            images
        }
        Err(error) => {
            found.faults.push(format!("{place}: {error}"));
            Vec::new()
        }
    }
}

async fn open(
    lfn: &Lfn,
    place: &Location,
    wanted: &Wanted,
    source: &Source,
) -> Result<Result<Hdf5, FormatError>, SourceError> {
    let storage = source.ranged(place).await?;
    let (lfn, Wanted { detector, encoder }) = (lfn.clone(), wanted.clone());
    let read = move || {
        let file = H5::open(storage)?;
        let shots = file.shots(encoder.as_ref());
        let whole = whole::hdf5(&lfn, &file, &detector, &shots);
        let table = file.detector(&detector).and_then(|path| file.table(&path));
        let shape = table.ok().map(|table| table.layout.shape);
        Ok(Hdf5 { whole, shape, shots, file: Arc::new(file) })
    };
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read
        .unwrap_or_else(|panic| Err(FormatError::Unsupported { what: format!("the HDF5 file ({panic})") })))
}

#[cfg(test)]
mod tests {
    use lightrail_topics::EventId;

    use super::super::{Files, of_run};
    use super::*;
    use crate::source::Settings;

    const MASTER: &[u8] = include_bytes!("../../formats/h5/tests/links_master.h5");
    const LINKED: [&[u8]; 2] = [
        include_bytes!("../../formats/h5/tests/links_data_000001.h5"),
        include_bytes!("../../formats/h5/tests/links_data_000002.h5"),
    ];

    const VIRTUAL: &[u8] = include_bytes!("../../formats/h5/tests/virtual.h5");
    const VIRTUAL_OTHER: &[u8] = include_bytes!("../../formats/h5/tests/virtual_other.h5");

    async fn found(files: &[(&str, &[u8])], named: &[&str]) -> RunImages {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, bytes) in files {
            std::fs::write(place(name), bytes).unwrap();
        }
        let named: Vec<String> = named.iter().map(|name| place(name).display().to_string()).collect();
        let files = Files::new(&named, None).unwrap();
        let wanted = Wanted { detector: "eiger".to_owned(), encoder: None };
        of_run(&files, &files.runs[0], &wanted, &Source::new(Settings::default())).await.unwrap()
    }

    fn frames(found: &RunImages) -> Vec<(&str, u32)> {
        let of = |image: &'_ lightrail_topics::events::Image| match &image.image.event {
            EventId::Frame { frame, .. } => *frame,
            EventId::Time { .. } => panic!("an HDF5 file's images are numbered"),
        };
        found.images.iter().map(|image| (image.extents[0].lfn.file_name(), of(image))).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_virtual_datasets_images_are_those_of_its_files() {
        let (one, two) = ("links_data_000001.h5", "links_data_000002.h5");
        let there = [(one, LINKED[0]), (two, LINKED[1]), ("whole.h5", VIRTUAL), ("odd.h5", VIRTUAL_OTHER)];
        let all = found(&there, &["whole.h5"]).await;
        assert_eq!(frames(&all), [(one, 0), (one, 1), (one, 2), (two, 0), (two, 1)]);
        assert_eq!(all.faults, [""; 0]);
        let none = found(&there, &["odd.h5"]).await;
        assert!(
            none.images.is_empty() && none.faults[0].contains("it is a virtual dataset"),
            "{:?}",
            none.faults
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_master_files_images_are_those_beside_it() {
        let (one, two, master) = ("links_data_000001.h5", "links_data_000002.h5", "links_master.h5");
        let there = [(one, LINKED[0]), (two, LINKED[1]), (master, MASTER)];
        let wanted = [(one, 0), (one, 1), (one, 2), (two, 0), (two, 1)];
        let all = found(&there, &[master]).await;
        assert_eq!(frames(&all), wanted);
        // What the master says holds for all of them.
        let shots = all.images.iter().map(|image| &image.shot);
        for shot in shots {
            assert!(shot.photon_energy.is_some_and(|energy| (energy - 9537.2).abs() < 0.1), "{shot:?}");
            assert_eq!(shot.detector_distance, Some(0.15));
        }
        assert!(all.plane.is_some());
        // One that is not there is told, and the others are taken.
        let [fault] = &all.faults[..] else { panic!("{:?}", all.faults) };
        assert!(fault.ends_with("links_data_000003.h5 is not there; its images are missing"), "{fault}");

        // Both named: each image once, with what the master says.
        let both = found(&there, &[two, master, one]).await;
        let mut each = frames(&both);
        each.sort_unstable();
        assert_eq!(each, wanted);
        assert!(both.images.iter().all(|image| image.shot.photon_energy.is_some()));

        let alone = found(&[(master, MASTER)], &[master]).await;
        assert_eq!((alone.images.len(), alone.faults.len()), (0, 3));
        let made_of_others = include_bytes!("../../formats/h5/tests/virtual.h5");
        let told = found(&[("virtual.h5", made_of_others)], &["virtual.h5"]).await;
        assert_eq!((told.images.len(), told.faults.len()), (0, 2));
        assert!(
            told.faults.iter().all(|fault| fault.ends_with("its images are missing")),
            "{:?}",
            told.faults
        );
    }

    #[test]
    fn only_what_lies_beside_is_followed() {
        let master: Lfn = "/mfx/mfxx1/hdf5/a_master.h5".parse().unwrap();
        let beside = |name: &str| whole::beside(&master, name).map(|lfn| lfn.to_string());
        assert_eq!(beside("a_data_000001.h5").as_deref(), Some("/mfx/mfxx1/hdf5/a_data_000001.h5"));
        assert_eq!(beside("./b.h5").as_deref(), Some("/mfx/mfxx1/hdf5/b.h5"));
        for name in ["", "..", "../b.h5", "/etc/b.h5", "c/b.h5", "./", "b\n.h5"] {
            assert_eq!(beside(name), None, "{name}");
        }
    }
}
