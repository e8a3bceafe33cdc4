//! Connected strong pixels: one pass over the pixels in the order of memory, with a union of labels.

/// A strong pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strong {
    /// Region of the detector (an ASIC, or a panel of the data array); pixels of two regions never touch.
    pub(super) region: u16,
    /// Row in the data array's panel.
    pub(super) row: u16,
    /// Column in the data array's panel.
    pub(super) column: u16,
    /// Place in the data array.
    pub(super) pixel: u32,
    /// Calibrated value.
    pub(super) value: f32,
}

/// Which pixels touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// Left, right, above, below.
    Four,
    /// Those and the corners.
    Eight,
}

/// Buffers of [`Components::find`].
#[derive(Clone, Debug, Default)]
pub(super) struct Components {
    parent: Vec<u32>,
    label: Vec<u32>,
    members: Vec<u32>,
    starts: Vec<u32>,
}

impl Components {
    /// Groups `strong`, which is sorted by region, row and column; afterwards [`Components::iter`] gives the groups in the
    /// order of their first pixels.
    #[allow(clippy::cast_possible_truncation)] // fewer than 2^32 pixels
    pub(super) fn find(&mut self, strong: &[Strong], neighbours: Neighbours) {
        self.parent.clear();
        self.parent.extend(0..strong.len() as u32);
        let reach = u16::from(neighbours == Neighbours::Eight);
        // `above` walks over the row before, once.
        let mut above = 0;
        for i in 0..strong.len() {
            let pixel = strong[i];
            if i > 0 {
                let left = strong[i - 1];
                if left.region == pixel.region && left.row == pixel.row && left.column + 1 == pixel.column {
                    self.unite(i as u32, i as u32 - 1);
                }
            }
            if pixel.row == 0 {
                continue;
            }
            let from = (pixel.region, pixel.row - 1, pixel.column.saturating_sub(reach));
            while (strong[above].region, strong[above].row, strong[above].column) < from {
                above += 1;
            }
            let mut j = above;
            while j < i
                && strong[j].region == pixel.region
                && strong[j].row + 1 == pixel.row
                && strong[j].column <= pixel.column + reach
            {
                self.unite(i as u32, j as u32);
                j += 1;
            }
        }
        self.gather(strong.len());
    }

    /// The groups; each as places in the list given, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|w| &self.members[w[0] as usize..w[1] as usize])
    }

    fn root(&mut self, mut i: u32) -> u32 {
        while self.parent[i as usize] != i {
            self.parent[i as usize] = self.parent[self.parent[i as usize] as usize];
            i = self.parent[i as usize];
        }
        i
    }

    /// The smaller root becomes the root of both, so that a root is its group's first pixel.
    fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    #[allow(clippy::cast_possible_truncation)] // as above
    fn gather(&mut self, n: usize) {
        self.label.clear();
        self.starts.clear();
        self.starts.push(0);
        for i in 0..n as u32 {
            let root = self.root(i);
            let label = if root == i {
                self.starts.push(0);
                self.starts.len() as u32 - 2
            } else {
                self.label[root as usize]
            };
            self.label.push(label);
            self.starts[label as usize + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.members.clear();
        self.members.resize(n, 0);
        // `parent` is done with: it becomes the next free place of each group.
        self.parent.clear();
        self.parent.extend_from_slice(&self.starts);
        for i in 0..n {
            let place = &mut self.parent[self.label[i] as usize];
            self.members[*place as usize] = i as u32;
            *place += 1;
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp
)] // made-up numbers are small
mod tests {
    use super::*;

    /// By flood fill, one pixel at a time.
    fn plainly(strong: &[Strong], neighbours: Neighbours) -> Vec<Vec<u32>> {
        let mut free = vec![true; strong.len()];
        let mut all = Vec::new();
        for seed in 0..strong.len() {
            let mut group = Vec::new();
            let mut stack = vec![seed];
            while let Some(i) = stack.pop() {
                if !std::mem::take(&mut free[i]) {
                    continue;
                }
                group.push(i as u32);
                for (j, other) in strong.iter().enumerate() {
                    let (x, y) = (other.column.abs_diff(strong[i].column), other.row.abs_diff(strong[i].row));
                    let near = match neighbours {
                        Neighbours::Four => x + y == 1,
                        Neighbours::Eight => x.max(y) == 1,
                    };
                    if near && other.region == strong[i].region {
                        stack.push(j);
                    }
                }
            }
            if !group.is_empty() {
                group.sort_unstable();
                all.push(group);
            }
        }
        all
    }

    #[test]
    fn groups_are_those_of_a_flood_fill() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut components = Components::default();
        for density in [0.02, 0.2, 0.4, 0.5, 0.7, 1.0] {
            let mut strong = Vec::new();
            for region in 0..2 {
                for row in 0..23_u16 {
                    for column in 0..19_u16 {
                        if random.f64() < density {
                            strong.push(Strong { region, row, column, pixel: 0, value: 1.0 });
                        }
                    }
                }
            }
            for neighbours in [Neighbours::Four, Neighbours::Eight] {
                components.find(&strong, neighbours);
                let found: Vec<Vec<u32>> = components.iter().map(<[u32]>::to_vec).collect();
                assert_eq!(found, plainly(&strong, neighbours), "{density} {neighbours:?}");
            }
        }
        components.find(&[], Neighbours::Four);
        assert_eq!(components.iter().count(), 0);
    }
}
