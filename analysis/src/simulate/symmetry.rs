//! The 65 space groups that a protein can have: which reflections are absent, and which are equivalent.
//! Source: International Tables for Crystallography A; groups are read off their Hermann-Mauguin symbol, axes as it stands.

use std::fmt;
use std::str::FromStr;

type Operator = [[i32; 3]; 3];

/// A space group as far as a reflection's intensity knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceGroup {
    symbol: String,
    centring: char,
    /// All rotations of the point group.
    rotations: Vec<Operator>,
    /// Screw axes: along which index, and of which numbers that index must be a multiple.
    screws: Vec<(usize, i32)>,
}

/// A text that is no space group of a chiral molecule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no space group that a protein can have: a Hermann-Mauguin symbol without mirrors, such as P43212, C2 or P61 2 2"
)]
pub struct SpaceGroupError(String);

const X2: Operator = [[1, 0, 0], [0, -1, 0], [0, 0, -1]];
const Y2: Operator = [[-1, 0, 0], [0, 1, 0], [0, 0, -1]];
const Z4: Operator = [[0, -1, 0], [1, 0, 0], [0, 0, 1]];
/// Threefold along z in hexagonal axes, for indices.
const Z3: Operator = [[0, 1, 0], [-1, -1, 0], [0, 0, 1]];
const Z6: Operator = [[0, -1, 0], [1, 1, 0], [0, 0, 1]];
/// Twofold between the axes: (h k l) to (k h -l), along a + b.
const AB2: Operator = [[0, 1, 0], [1, 0, 0], [0, 0, -1]];
/// (h k l) to (-k -h -l), along a - b.
const A_B2: Operator = [[0, -1, 0], [-1, 0, 0], [0, 0, -1]];
/// Threefold along the diagonal of a cube.
const D3: Operator = [[0, 0, 1], [1, 0, 0], [0, 1, 0]];

impl FromStr for SpaceGroup {
    type Err = SpaceGroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SpaceGroupError(text.to_owned());
        let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
        let mut symbols = plain.chars();
        let centring = symbols.next().map(|c| c.to_ascii_uppercase()).ok_or_else(error)?;
        let axes: Vec<i32> = symbols
            .map(|c| c.to_digit(10).map(u32::cast_signed).ok_or_else(error))
            .collect::<Result<_, _>>()?;
        let orthorhombic = "PABCIF".contains(centring);
        // Pairs of (axis order, screw), 0 for none, read along the symbol.
        let (generators, screws): (Vec<Operator>, Vec<(usize, i32)>) = match (centring, &axes[..]) {
            (_, [1]) => (vec![], vec![]),
            ('P' | 'A' | 'C' | 'I' | 'B', [2] | [2, 1] | [1, 2, 1] | [1, 2, 1, 1]) => {
                let is_screw = axes.ends_with(&[2, 1]) && axes.len() == 2 || axes == [1, 2, 1, 1];
                (vec![Y2], if is_screw { vec![(1, 2)] } else { vec![] })
            }
            (_, [2, ..]) if orthorhombic && twofolds(&axes).is_some() => {
                let screws = twofolds(&axes).unwrap_or_default();
                (vec![X2, Y2], (0..3).filter(|axis| screws[*axis]).map(|axis| (axis, 2)).collect())
            }
            ('P' | 'I', [4]) => (vec![Z4], vec![]),
            ('P' | 'I', [4, n @ 1..=3]) => (vec![Z4], vec![(2, [0, 4, 2, 4][*n as usize])]),
            ('P' | 'I', [4, 2, 2]) => (vec![Z4, X2], vec![]),
            ('P', [4, 2, 1, 2]) => (vec![Z4, X2], vec![(0, 2), (1, 2)]),
            ('P' | 'I', [4, n @ 1..=3, 2, 2]) => (vec![Z4, X2], vec![(2, [0, 4, 2, 4][*n as usize])]),
            ('P', [4, n @ 1..=3, 2, 1, 2]) => {
                (vec![Z4, X2], vec![(2, [0, 4, 2, 4][*n as usize]), (0, 2), (1, 2)])
            }
            ('P' | 'R' | 'H', [3]) => (vec![Z3], vec![]),
            ('P', [3, 1 | 2]) => (vec![Z3], vec![(2, 3)]),
            ('R' | 'H', [3, 2]) => (vec![Z3, AB2], vec![]),
            ('P', [3, 2, 1]) => (vec![Z3, AB2], vec![]),
            ('P', [3, 1, 2]) => (vec![Z3, A_B2], vec![]),
            ('P', [3, 1 | 2, 2, 1]) => (vec![Z3, AB2], vec![(2, 3)]),
            ('P', [3, 1 | 2, 1, 2]) => (vec![Z3, A_B2], vec![(2, 3)]),
            ('P', [6]) => (vec![Z6], vec![]),
            ('P', [6, n @ 1..=5]) => (vec![Z6], vec![(2, [0, 6, 3, 2, 3, 6][*n as usize])]),
            ('P', [6, 2, 2]) => (vec![Z6, AB2], vec![]),
            ('P', [6, n @ 1..=5, 2, 2]) => (vec![Z6, AB2], vec![(2, [0, 6, 3, 2, 3, 6][*n as usize])]),
            ('P' | 'I' | 'F', [2, 3]) => (vec![X2, Y2, D3], vec![]),
            ('P' | 'I', [2, 1, 3]) => (vec![X2, Y2, D3], vec![(0, 2), (1, 2), (2, 2)]),
            ('P' | 'I' | 'F', [4, 3, 2]) => (vec![Z4, X2, D3], vec![]),
            ('P' | 'I' | 'F', [4, n @ 1..=3, 3, 2]) => {
                let every = [0, 4, 2, 4][*n as usize];
                (vec![Z4, X2, D3], vec![(0, every), (1, every), (2, every)])
            }
            _ => return Err(error()),
        };
        Ok(Self { symbol: plain, centring, rotations: closed(&generators), screws })
    }
}

/// Which of the three axes are screws, for `222`, `2221`, `21212`, `212121` and the like.
fn twofolds(axes: &[i32]) -> Option<[bool; 3]> {
    let mut screws = [false; 3];
    let mut axis = 0;
    let mut rest = axes;
    while let [2, more @ ..] = rest {
        let slot = screws.get_mut(axis)?;
        rest = more;
        if let [1, more @ ..] = rest {
            *slot = true;
            rest = more;
        }
        axis += 1;
    }
    (axis == 3 && rest.is_empty()).then_some(screws)
}

/// All products of the generators.
fn closed(generators: &[Operator]) -> Vec<Operator> {
    let mut all = vec![[[1, 0, 0], [0, 1, 0], [0, 0, 1]]];
    let mut at = 0;
    while at < all.len() {
        for generator in generators {
            let next: Operator = std::array::from_fn(|i| {
                std::array::from_fn(|j| (0..3).map(|k| all[at][i][k] * generator[k][j]).sum())
            });
            if !all.contains(&next) {
                all.push(next);
            }
        }
        at += 1;
    }
    all
}

impl fmt::Display for SpaceGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.symbol)
    }
}

impl SpaceGroup {
    /// Whether the lattice's centring or a screw axis makes a reflection vanish.
    pub fn is_absent(&self, hkl: [i32; 3]) -> bool {
        let [h, k, l] = hkl;
        let odd = |sum: i32| sum.rem_euclid(2) != 0;
        let by_centring = match self.centring {
            'A' => odd(k + l),
            'B' => odd(h + l),
            'C' => odd(h + k),
            'I' => odd(h + k + l),
            'F' => odd(h + k) || odd(k + l),
            'R' | 'H' => (-h + k + l).rem_euclid(3) != 0,
            _ => false,
        };
        by_centring
            || self.screws.iter().any(|(axis, every)| {
                let others = (0..3).filter(|i| i != axis).all(|i| hkl[i] == 0);
                others && hkl[*axis].rem_euclid(*every) != 0
            })
    }

    /// The one that stands for all reflections of the same intensity, Friedel's included: the largest.
    pub fn representative(&self, hkl: [i32; 3]) -> [i32; 3] {
        let turned = self
            .rotations
            .iter()
            .map(|operator| operator.map(|row| row[0] * hkl[0] + row[1] * hkl[1] + row[2] * hkl[2]));
        turned.flat_map(|one| [one, one.map(|index| -index)]).max().unwrap_or(hkl)
    }

    /// Rotations of the point group.
    pub fn order(&self) -> usize {
        self.rotations.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_groups_of_chiral_molecules_are_known_with_the_order_of_their_point_group() {
        let groups = "P1 P2 P21 C2 P222 P2221 P21212 P212121 C2221 C222 F222 I222 I212121 P4 P41 P42 P43 I4 I41 P422 P4212 \
             P4122 P41212 P4222 P42212 P4322 P43212 I422 I4122 P3 P31 P32 R3 P312 P321 P3112 P3121 P3212 P3221 R32 P6 P61 \
             P65 P62 P64 P63 P622 P6122 P6522 P6222 P6422 P6322 P23 F23 I23 P213 I213 P432 P4232 F432 F4132 I432 P4332 P4132 \
             I4132";
        let groups: Vec<&str> = groups.split_whitespace().collect();
        assert_eq!(groups.len(), 65);
        for symbol in groups {
            let group: SpaceGroup = symbol.parse().unwrap();
            let inner = &symbol[1..];
            let cubic = inner.ends_with("32") && inner.starts_with('4') || ["23", "213"].contains(&inner);
            let wanted = match inner.chars().next().unwrap() {
                '4' if cubic => 24,
                '2' if cubic => 12,
                '1' => 1,
                '2' if inner.len() < 3 => 2,
                '2' => 4,
                '4' | '6' if inner.len() > 2 => {
                    if inner.starts_with('4') {
                        8
                    } else {
                        12
                    }
                }
                '4' => 4,
                '6' => 6,
                '3' if inner.len() > 2 || inner == "32" && symbol.starts_with('R') => 6,
                _ => 3,
            };
            assert_eq!(group.order(), wanted, "{symbol}");
        }
        for wrong in ["", "P", "Pnma", "P5", "P2/m", "X222", "P22", "P2222", "P4412"] {
            assert!(wrong.parse::<SpaceGroup>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn absences_are_those_of_the_tables() {
        let absent = |symbol: &str, hkl| symbol.parse::<SpaceGroup>().unwrap().is_absent(hkl);
        assert!(absent("C2", [1, 2, 3]) && !absent("C2", [1, 3, 2]));
        assert!(absent("P21", [0, 3, 0]) && !absent("P21", [0, 2, 0]) && !absent("P21", [1, 3, 0]));
        assert!(absent("P 61 2 2", [0, 0, 3]) && !absent("P 61 2 2", [0, 0, 6]));
        assert!(absent("P21212", [3, 0, 0]) && !absent("P21212", [0, 0, 3]));
        assert!(absent("I213", [1, 0, 0]) && absent("I213", [1, 1, 1]) && !absent("I213", [1, 1, 2]));
        assert!(absent("F432", [1, 1, 2]) && !absent("F432", [1, 1, 3]));
        assert!(absent("R3", [1, 0, 0]) && !absent("R3", [1, 0, 1]));
        assert!(absent("P4132", [0, 2, 0]) && !absent("P4132", [0, 4, 0]));
    }
}
