//! Which reflections of a turned crystal diffract in a shot, how much, and where their light meets the detector.

use super::crystal::{Matrix, cross, dot};
use super::plan::Partiality;
use crate::geometry::{Geometry, Panel};

/// A reflection that diffracts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reflection {
    pub(super) hkl: [i32; 3],
    /// 1/angstrom, in the laboratory.
    pub(super) q: [f64; 3],
    /// How much of it diffracts, 1 on the Ewald sphere.
    pub(super) partiality: f64,
}

/// All reflections as fine as `resolution` (angstrom) that are near enough to the Ewald sphere, for a reciprocal basis turned as
/// the crystal is (its columns a*, b*, c*).
pub(super) fn reflections(
    basis: Matrix,
    wavelength: f64,
    resolution: f64,
    (partiality, radius): (Partiality, f64),
) -> Vec<Reflection> {
    let column = |i: usize| [basis[0][i], basis[1][i], basis[2][i]];
    let (a, b, c) = (column(0), column(1), column(2));
    let volume = dot(a, cross(b, c)).abs();
    let length = |v: [f64; 3]| dot(v, v).sqrt();
    // The largest index of a sphere is its radius times the length of the direct axis.
    let q_most = 1.0 / resolution;
    let most = |u, v| (q_most * length(cross(u, v)) / volume).ceil() as i32;
    let (h_most, k_most, l_most) = (most(b, c), most(c, a), most(a, b));
    let ewald = 1.0 / wavelength;
    let cut = match partiality {
        Partiality::Gaussian => 4.0 * radius,
        Partiality::Sphere => radius,
    };
    // |s0 + q|^2 lies between the squares of the two radii; compared without the root.
    let (low, high) = ((ewald - cut).powi(2), (ewald + cut).powi(2));
    let mut found = Vec::new();
    for h in -h_most..=h_most {
        for k in -k_most..=k_most {
            let at: [f64; 3] = std::array::from_fn(|i| f64::from(h) * a[i] + f64::from(k) * b[i]);
            for l in -l_most..=l_most {
                let q: [f64; 3] = std::array::from_fn(|i| at[i] + f64::from(l) * c[i]);
                let square = dot(q, q);
                let s1 = square + 2.0 * ewald * q[2] + ewald * ewald;
                if s1 < low || s1 > high || square > q_most * q_most || (h, k, l) == (0, 0, 0) {
                    continue;
                }
                let error = (s1.sqrt() - ewald) / radius;
                let partiality = match partiality {
                    Partiality::Gaussian => (-0.5 * error * error).exp(),
                    Partiality::Sphere => (1.0 - error * error).max(0.0),
                };
                found.push(Reflection { hkl: [h, k, l], q, partiality });
            }
        }
    }
    found
}

/// The part of the light that is scattered into a direction (Kahn et al. 1982, J. Appl. Cryst. 15, 330): `horizontal` of it is
/// polarised along x.
pub(super) fn polarisation(direction: [f64; 3], horizontal: f64) -> f64 {
    let n = dot(direction, direction);
    let [x, y, _] = direction;
    horizontal * (1.0 - x * x / n) + (1.0 - horizontal) * (1.0 - y * y / n)
}

/// Where a ray from the interaction point meets a panel, pixel coordinates (fast, slow) of its data array; `None` beside it by
/// more than half a pixel.
pub(super) fn meet(panel: &Panel, direction: [f64; 3]) -> Option<(f64, f64)> {
    let normal = cross(panel.fast, panel.slow);
    let along = dot(direction, normal);
    let t = dot(panel.origin, normal) / along;
    if !(t.is_finite() && t > 0.0) {
        return None;
    }
    let from: [f64; 3] = std::array::from_fn(|i| direction[i] * t - panel.origin[i]);
    // Fast and slow of a panel are at right angles.
    let fast = dot(from, panel.fast) / dot(panel.fast, panel.fast) + panel.columns.start as f64;
    let slow = dot(from, panel.slow) / dot(panel.slow, panel.slow) + panel.rows.start as f64;
    let within =
        |v: f64, range: &std::ops::Range<usize>| v >= range.start as f64 - 0.5 && v <= range.end as f64 - 0.5;
    (within(fast, &panel.columns) && within(slow, &panel.rows)).then_some((fast, slow))
}

/// The first panel that a ray meets, and where.
pub(super) fn hit(geometry: &Geometry, direction: [f64; 3]) -> Option<(usize, f64, f64)> {
    geometry.panels.iter().find_map(|panel| meet(panel, direction).map(|(f, s)| (panel.panel, f, s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::crystal::{Cell, orientation, product};
    use crate::simulate::model::Model;
    use crate::simulate::random::{Purpose, Random};

    #[test]
    fn all_reflections_near_the_ewald_sphere_are_found() {
        let u = orientation(&mut Random::of(1, Purpose::Lattice, &[]));
        let basis = product(u, "30,40,50,80,100,95".parse::<Cell>().unwrap().reciprocal());
        let found = reflections(basis, 1.3, 3.0, (Partiality::Gaussian, 0.002));
        let mut expected = 0;
        for (h, k, l) in
            (-30..=30).flat_map(|h| (-30..=30).flat_map(move |k| (-30..=30).map(move |l| (h, k, l))))
        {
            let q: [f64; 3] = std::array::from_fn(|i| {
                f64::from(h) * basis[i][0] + f64::from(k) * basis[i][1] + f64::from(l) * basis[i][2]
            });
            let s1 = [q[0], q[1], q[2] + 1.0 / 1.3];
            let error = dot(s1, s1).sqrt() - 1.0 / 1.3;
            expected += usize::from(error.abs() < 0.008 && dot(q, q) < 1.0 / 9.0 && (h, k, l) != (0, 0, 0));
        }
        assert!(expected > 50);
        assert_eq!(found.len(), expected);
        let sphere = reflections(basis, 1.3, 3.0, (Partiality::Sphere, 0.002));
        assert!(sphere.len() < found.len() && sphere.iter().all(|r| (0.0..=1.0).contains(&r.partiality)));
    }

    #[test]
    fn a_ray_meets_the_pixel_whose_place_it_goes_through() {
        let geometry = Model::Jungfrau4M.geometry(0.15);
        for panel in &geometry.panels {
            let place = panel.position(100.25, 300.5);
            let (found, fast, slow) = hit(&geometry, place.map(|v| v * 7.0)).unwrap();
            assert_eq!(found, panel.panel);
            assert!((fast - 100.25).abs() < 1e-9 && (slow - 300.5).abs() < 1e-9);
        }
        assert_eq!(hit(&geometry, [0.0, 0.0, 1.0]), None, "the beam goes through the gap");
        assert_eq!(hit(&geometry, [0.0, 0.0, -1.0]), None);
        assert!((polarisation([1.0, 0.0, 1.0], 1.0) - 0.5).abs() < 1e-12);
        assert!((polarisation([0.0, 1.0, 1.0], 1.0) - 1.0).abs() < 1e-12);
    }
}
