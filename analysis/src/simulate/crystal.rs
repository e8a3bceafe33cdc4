//! The crystal: its cell, its orientation in a shot, its symmetry, and a squared structure factor for every hkl that
//! depends on nothing but a seed. Angstrom everywhere.

use std::fmt;
use std::str::FromStr;

use super::random::{Purpose, Random};
use super::symmetry::SpaceGroup;

/// Three by three numbers, row by row.
pub type Matrix = [[f64; 3]; 3];

/// A unit cell: lengths in angstrom, angles in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the field's own names
pub struct Cell {
    pub a: f64,
    pub b: f64,
    pub c: f64,
    pub alpha: f64,
    pub beta: f64,
    pub gamma: f64,
}

/// A text that is no cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no unit cell: six numbers with commas, lengths in angstrom and angles in degrees, such as 79.1,79.1,38.4,90,90,90"
)]
pub struct CellError(String);

impl FromStr for Cell {
    type Err = CellError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || CellError(text.to_owned());
        let numbers: Vec<f64> = text
            .split([',', ' '])
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|_| error()))
            .collect::<Result<_, _>>()?;
        let [a, b, c, alpha, beta, gamma] = numbers[..] else { return Err(error()) };
        let cell = Self { a, b, c, alpha, beta, gamma };
        let lengths = [a, b, c].iter().all(|l| (2.0..=2000.0).contains(l));
        let angles = [alpha, beta, gamma].iter().all(|l| (20.0..=160.0).contains(l));
        let volume = cell.volume();
        if lengths && angles && volume.is_finite() && volume > 1.0 { Ok(cell) } else { Err(error()) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, c, alpha, beta, gamma } = self;
        write!(f, "{a},{b},{c},{alpha},{beta},{gamma}")
    }
}

impl Cell {
    /// Hen egg white lysozyme.
    pub const LYSOZYME: Self = Self { a: 79.1, b: 79.1, c: 38.4, alpha: 90.0, beta: 90.0, gamma: 90.0 };

    /// Cubic angstrom; not a number for angles that no cell has.
    pub fn volume(&self) -> f64 {
        let [ca, cb, cg] = [self.alpha, self.beta, self.gamma].map(|angle| angle.to_radians().cos());
        self.a * self.b * self.c * (1.0 - ca * ca - cb * cb - cg * cg + 2.0 * ca * cb * cg).sqrt()
    }

    /// The reciprocal basis of an unturned crystal, 1/angstrom: the columns are a*, b*, c*, with a along x and b in the x-y
    /// plane.
    pub fn reciprocal(&self) -> Matrix {
        let [ca, cb, cg] = [self.alpha, self.beta, self.gamma].map(|angle| angle.to_radians().cos());
        let sg = self.gamma.to_radians().sin();
        let a = [self.a, 0.0, 0.0];
        let b = [self.b * cg, self.b * sg, 0.0];
        let cy = self.c * (ca - cb * cg) / sg;
        let c = [self.c * cb, cy, self.volume() / (self.a * self.b * sg)];
        let over = |v: [f64; 3]| v.map(|x| x / self.volume());
        let (ra, rb, rc) = (over(cross(b, c)), over(cross(c, a)), over(cross(a, b)));
        [[ra[0], rb[0], rc[0]], [ra[1], rb[1], rc[1]], [ra[2], rb[2], rc[2]]]
    }
}

/// The vector product.
pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The scalar product.
pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Matrix times matrix.
pub(super) fn product(a: Matrix, b: Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// A rotation, all of them equally likely: a quaternion of four normal numbers (Shoemake 1992, Graphics Gems III, 124).
pub(super) fn orientation(random: &mut Random) -> Matrix {
    let q: [f64; 4] = std::array::from_fn(|_| random.normal());
    let n = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [w, x, y, z] = q.map(|v| v / n);
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// The squared structure factor, mean 1 (acentric Wilson statistics, Wilson 1949, Acta Cryst. 2, 318); 0 where the space group
/// forbids it. Equivalent reflections have the same one.
pub(super) fn structure_factor(seed: u64, group: &SpaceGroup, hkl: [i32; 3]) -> f64 {
    if group.is_absent(hkl) {
        return 0.0;
    }
    let parts = group.representative(hkl).map(|index| i64::from(index) as u64);
    Random::of(seed, Purpose::StructureFactor, &parts).exponential()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_read_or_refused() {
        let cell: Cell = "61.4, 122, 168.8, 90,100,90".parse().unwrap();
        assert_eq!(cell.to_string(), "61.4,122,168.8,90,100,90");
        for wrong in ["79.1,79.1,38.4", "1,2,3,4,5,6", "50,50,50,150,150,150", "50,50,x,90,90,90", ""] {
            assert!(wrong.parse::<Cell>().unwrap_err().to_string().contains("is no unit cell"), "{wrong}");
        }
    }

    #[test]
    fn the_reciprocal_basis_is_dual_to_the_direct_one() {
        let cell: Cell = "50,60,70,80,95,110".parse().unwrap();
        let r = cell.reciprocal();
        let column = |i: usize| [r[0][i], r[1][i], r[2][i]];
        // (a* x b*) / V* is c again.
        let volume = dot(column(0), cross(column(1), column(2)));
        assert!((volume * cell.volume() - 1.0).abs() < 1e-12);
        let direct: Vec<[f64; 3]> =
            (0..3).map(|i| cross(column((i + 1) % 3), column((i + 2) % 3)).map(|x| x / volume)).collect();
        let length = |v: [f64; 3]| dot(v, v).sqrt();
        let angle = |v, w| (dot(v, w) / length(v) / length(w)).acos().to_degrees();
        let got = [
            length(direct[0]),
            length(direct[1]),
            length(direct[2]),
            angle(direct[1], direct[2]),
            angle(direct[0], direct[2]),
            angle(direct[0], direct[1]),
        ];
        for (got, wanted) in got.iter().zip([50.0, 60.0, 70.0, 80.0, 95.0, 110.0]) {
            assert!((got - wanted).abs() < 1e-9, "{got} {wanted}");
        }
    }

    #[test]
    fn orientations_are_rotations_without_a_preferred_direction() {
        let mut random = Random::of(3, Purpose::Lattice, &[]);
        let mut mean = [0.0; 3];
        for _ in 0..4000 {
            let u = orientation(&mut random);
            let rows = dot(u[0], cross(u[1], u[2]));
            assert!((rows - 1.0).abs() < 1e-12);
            mean.iter_mut().zip(u).for_each(|(mean, row)| *mean += row[2] / 4000.0);
        }
        assert!(mean.iter().all(|v| v.abs() < 0.05), "{mean:?}");
    }

    #[test]
    fn equivalent_reflections_have_the_same_structure_factor() {
        let group: SpaceGroup = "P43212".parse().unwrap();
        let of = |h, k, l| structure_factor(11, &group, [h, k, l]);
        for other in [of(-3, 5, 7), of(5, 3, 7), of(-5, -3, -7), of(3, -5, -7), of(-3, -5, 7)] {
            assert_eq!(other.to_bits(), of(3, 5, 7).to_bits());
        }
        assert!(of(3, 5, 8) > 0.0 && of(3, 5, 8).to_bits() != of(3, 5, 7).to_bits());
        let absent = [of(0, 0, 1), of(0, 0, 2), of(0, 0, 6), of(3, 0, 0), of(0, 5, 0)];
        assert!(absent.iter().all(|f| f.to_bits() == 0));
        assert!(of(0, 0, 4) > 0.0 && of(4, 0, 0) > 0.0);
        let mean = (1..50).flat_map(|h| (1..50).map(move |k| (h, k))).map(|(h, k)| of(h, k, 3)).sum::<f64>();
        assert!((mean / 2401.0 - 1.0).abs() < 0.1, "{mean}");
    }
}
