use super::*;
use crate::formats::npy;
use crate::frame::{Frame, Pixels, Shot};
use crate::pipeline::Workspace;

const SHAPE: Shape = Shape { panels: 1, rows: 40, columns: 60 };
const GEOM: &str = "clen = 0.1\nres = 13333.3\np0/min_fs = 0\np0/max_fs = 59\np0/min_ss = 0\np0/max_ss = 39\n\
                    p0/fs = +1.0x +0.0y\np0/ss = -0.0x +1.0y\np0/corner_x = -30\np0/corner_y = -20\n\
                    bad_a/min_fs = 0\nbad_a/max_fs = 1\nbad_a/min_ss = 0\nbad_a/max_ss = 39\nbad_a/panel = p0\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a file there and gives the trial's table for it.
    fn put(&self, list: &str, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        let sum = Sha256::of(bytes);
        format!("[[{list}]]\npath = '{name}'\nsha256 = '{sum}'\n")
    }

    fn compile(&self, kind: &str, inputs: &str, run: u32) -> Result<Chain, String> {
        let text = format!("[detector]\nname = 'd'\nkind = '{kind}'\nphoton_energy = 9500\n{inputs}");
        let parameters = Parameters::from_toml(&text).unwrap();
        compile(&parameters, RunNumber(run), SHAPE, self.0.path()).map_err(|error| {
            assert!(error.is_permanent(), "{error}");
            error.line().replace(self.0.path().to_str().unwrap(), "BASE")
        })
    }
}

fn constant(value: f32, modes: usize) -> Vec<u8> {
    npy::write_f32(&[modes, 1, 40, 60], &vec![value; modes * SHAPE.len()])
}

#[test]
fn a_trials_files_become_a_chain_that_uses_them() {
    let folder = Folder::new();
    let pedestals = folder.put("constants", "a/jungfrau-pedestals.npy", &constant(100.0, 3));
    let later = folder.put("constants", "b/pedestals.npy", &constant(500.0, 3));
    let gains = folder.put("constants", "pixel_gain/0-end.npy", &constant(2.0, 3));
    let mut open = vec![1; SHAPE.len()];
    open[5 * 60 + 7] = 0;
    let mask = folder.put("masks", "mask.npy", &npy::write_u8(&[40, 60], &open));
    let geometry = folder.put("geometry", "d.geom", GEOM.as_bytes());
    let inputs = format!(
        "{}{}{gains}{mask}{geometry}",
        pedestals.replace("path", "runs = '1-11'\npath"),
        later.replace("path", "runs = '12-end'\npath")
    );
    let frame = Frame { shape: SHAPE, pixels: Pixels::U16(vec![700; SHAPE.len()]) };
    let mut hashes = Vec::new();
    for (run, expected) in [(3, 300.0), (12, 100.0)] {
        let chain = folder.compile("jungfrau", &inputs, run).unwrap();
        let mut workspace = Workspace::default();
        let values = chain.values(&mut workspace, &frame).unwrap();
        assert_eq!(values[5 * 60 + 8].to_bits(), f32::to_bits(expected), "(700 - pedestal) / 2 keV");
        let hidden: Vec<usize> = (0..SHAPE.len()).filter(|i| values[*i] == 0.0).collect();
        assert_eq!(hidden.len(), 81, "the mask's pixel and the geometry's two columns");
        assert!(hidden.contains(&(5 * 60 + 7)) && hidden.contains(&1) && hidden.contains(&(39 * 60)));
        assert!(chain.process(&mut workspace, &[(&frame, &Shot::default())]).remove(0).is_ok());
        hashes.push(chain.hash());
    }
    assert_ne!(hashes[0], hashes[1], "what was used is told apart");
}

#[test]
fn each_fault_names_the_file_and_what_was_expected() {
    let folder = Folder::new();
    let geometry = folder.put("geometry", "d.geom", GEOM.as_bytes());
    let said = |kind: &str, inputs: &str| folder.compile(kind, inputs, 1).unwrap_err();
    assert_eq!(
        said("counts", ""),
        "the trial names no geometry for run 1, and the data have none: add a file under [[geometry]]"
    );
    assert_eq!(
        said("jungfrau", &geometry),
        "the trial does not fit the data of run 1: jungfrau needs pedestals, and the constants hold none: \
         name a file that has them under [[constants]]"
    );
    let missing = geometry.replace("d.geom", "gone.geom");
    assert_eq!(
        said("counts", &missing),
        "cannot read BASE/gone.geom: No such file or directory (os error 2)"
    );
    std::fs::write(folder.0.path().join("e.geom"), GEOM.replace("clen = 0.1", "clen = 0.2")).unwrap();
    let other = said("counts", &geometry.replace("d.geom", "e.geom"));
    assert!(other.starts_with("BASE/e.geom is not the trial's: its SHA-256 is "), "{other}");
    let small = folder.put("constants", "pedestals.npy", &npy::write_f32(&[3, 1, 4, 60], &[1.0; 720]));
    assert_eq!(
        said("jungfrau", &format!("{small}{geometry}")),
        "BASE/pedestals.npy: pedestals are [3, 1, 4, 60], the data are 1x40x60: gain modes x 1x40x60 were expected"
    );
    let one = folder.put("constants", "pedestals-1.npy", &constant(1.0, 1));
    let gains = folder.put("constants", "gains.npy", &constant(1.0, 3));
    let few = said("jungfrau", &format!("{one}{gains}{geometry}"));
    assert!(few.contains("pedestals holds 2400 values, 7200 are needed (3 gain modes)"), "{few}");
    let closed = folder.put("masks", "closed.npy", &npy::write_u8(&[40, 60], &[0; 2400]));
    assert_eq!(
        said("counts", &format!("{closed}{geometry}")),
        "the trial does not fit the data of run 1: no pixel is left: mask 1 of the trial hides, with those before \
         it, all of them"
    );
    let large = folder.put("geometry", "large.geom", GEOM.replace("max_ss = 39", "max_ss = 99").as_bytes());
    let misfit = said("counts", &large);
    assert!(
        misfit.starts_with("geometry BASE/large.geom: the geometry is for an array of 1x100x60"),
        "{misfit}"
    );
    let broken = folder.put("geometry", "broken.geom", b"p0/min_fs = x\n");
    let broken = said("counts", &broken);
    assert!(broken.starts_with("geometry BASE/broken.geom: ") && broken.contains("line 1"), "{broken}");
    let unknown = folder.put("geometry", "g.txt", GEOM.as_bytes());
    assert_eq!(
        said("counts", &unknown),
        "geometry BASE/g.txt: neither CrystFEL's .geom nor psana's .data nor .cbf nor NXmx"
    );
}

#[test]
fn a_path_leads_nowhere_else_and_to_no_device() {
    let folder = Folder::new();
    let geometry = folder.put("geometry", "d.geom", GEOM.as_bytes());
    let said = |path: &str| folder.compile("counts", &geometry.replace("d.geom", path), 1).unwrap_err();
    assert_eq!(said("../d.geom"), "`../d.geom` (a path of the trial) is refused: `..` is no part of it");
    assert!(said("root://door:1094//x/d.geom").contains("not URLs"));
    assert!(said("/dev/zero").contains("it is no regular file"));
    assert!(said("/").contains("it is no regular file"));
}

#[test]
fn a_trials_files_are_parsed_before_it_is_put_anywhere() {
    let folder = Folder::new();
    let check = |inputs: &str| {
        let text = format!("[detector]\nname = 'd'\nkind = 'counts'\n{inputs}");
        let parameters = Parameters::from_toml(&text).unwrap();
        let faults = check_files(&parameters, folder.0.path());
        let base = folder.0.path().to_str().unwrap();
        faults.iter().map(|fault| fault.line().replace(base, "BASE")).collect::<Vec<_>>().join("\n")
    };
    let nxmx = include_bytes!("../formats/h5/tests/nxmx.h5");
    let hdf5 = include_bytes!("../formats/h5/tests/constants.h5");
    let good = [
        folder.put("constants", "pedestals.npy", &constant(1.0, 3)),
        folder.put("constants", "jungfrau.h5", hdf5),
        folder.put("constants", "pixel_gain/0-end.data", b"1 2\n3 4\n"),
        folder.put("masks", "mask.npy", &npy::write_u8(&[40, 60], &[1; 2400])),
        folder.put("masks", "mask.h5", hdf5),
        folder.put("geometry", "d.geom", GEOM.as_bytes()),
        folder.put("geometry", "plane.nxs", nxmx),
    ]
    .concat();
    assert_eq!(check(&good), "");
    // What is wrong, whatever shape the data will have: the key, the file, and the parser's own words.
    let cut = constant(1.0, 3);
    let bad = [
        folder.put("constants", "gains.npy", &cut[..cut.len() - 4]),
        folder.put("constants", "dark.npy", &constant(1.0, 3)),
        folder.put("constants", "empty.h5", nxmx),
        folder.put("constants", "status.npy", &npy::write_u8(&[4], &[0; 4])),
        folder.put("masks", "mask.txt", b"1 0 1\n1 2\n"),
        folder.put("masks", "half.h5", &hdf5[..600]),
        folder.put("geometry", "d.geom", GEOM.as_bytes()),
        folder.put("geometry", "broken.geom", GEOM.replace("p0/max_ss", "p0/max_s").as_bytes()),
        folder.put("geometry", "broken.data", b"nothing of psana's\n"),
        folder.put("geometry", "broken.cbf", b"###CBF\n"),
        folder.put("geometry", "plain.h5", hdf5),
        folder.put("geometry", "g.txt", GEOM.as_bytes()),
        folder.put("masks", "gone.npy", b"").replace("gone", "missing"),
    ]
    .concat();
    insta::assert_snapshot!(check(&bad), @r"
    constants.path (no. 1 of them): BASE/gains.npy: it cannot be read: npy file at byte 0 needs 4 bytes more than there are
    constants.path (no. 2 of them): BASE/dark.npy: its name does not say which constant it holds: name it so that one of pedestals, gains, offsets, status, configuration stands in it
    constants.path (no. 3 of them): BASE/empty.h5: it has no dataset named pedestals, gains, offsets or status; it has /entry/definition, /entry/data/data, /entry/instrument/beam/incident_wavelength, /entry/instrument/detector/beam_center_x, /entry/instrument/detector/beam_center_y, /entry/instrument/detector/data, /entry/instrument/detector/distance, /entry/instrument/detector/pixel_mask, ...
    constants.path (no. 4 of them): BASE/status.npy: status are [4]: gain modes x panels x rows x columns, or rows x columns were expected
    masks.path (no. 1 of them): BASE/mask.txt: it cannot be read: damaged text of numbers at byte 0: line 2: 2 numbers after lines of 3
    masks.path (no. 2 of them): BASE/half.h5: it has no dataset named mask, pixel_mask or /data/data; it has none
    masks.path (no. 3 of them): cannot read BASE/missing.npy: No such file or directory (os error 2)
    geometry.path (no. 2 of them): geometry BASE/broken.geom: line 3: p0: lacks max_ss; line 6: p0/max_s: is no key that is known, did you mean `max_fs`?; line 11: bad region `bad_a`: `p0` is no panel
    geometry.path (no. 3 of them): geometry BASE/broken.data: file: has no object; a psana geometry has 13 columns: PARENT IND OBJECT IND X0 ... TILT-X; line 1: nothing: has 3 columns, not 13 (PARENT IND OBJECT IND X0 Y0 Z0 and six angles)
    geometry.path (no. 4 of them): geometry BASE/broken.cbf: _axis: the header has neither axes nor a Pilatus header; name a geometry file in the trial
    geometry.path (no. 5 of them): geometry BASE/plain.h5: there is no NXmx detector with pixel sizes, beam centre and distance in it
    geometry.path (no. 6 of them): geometry BASE/g.txt: neither CrystFEL's .geom nor psana's .data nor .cbf nor NXmx
    ");
}
