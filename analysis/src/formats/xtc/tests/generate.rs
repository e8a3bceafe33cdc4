//! A generator of LCLS-I files as the DAQ's sources describe them: a Jungfrau of two modules, `EvrData` and `EBeam` per shot; the
//! big file, its small one, its index.

use super::{Src, Time, TypeId, jungfrau};

/// Payloads of this many bytes and more become proxies, `EvrData` excepted.
const THRESHOLD: usize = 1024;

pub(crate) fn time(n: u32) -> Time {
    Time { seconds: 1_500_000_000, nanoseconds: n * 8_333_333, fiducial: 1000 + 3 * n }
}

pub(crate) fn pixels(n: usize, count: usize) -> Vec<u16> {
    (0..count).map(|pixel| u16::try_from((pixel * 7 + n * 1009) & 0xffff).unwrap()).collect()
}

/// A shot's photon energy in eV.
pub(crate) fn energy(n: usize) -> f64 {
    9500.0 + f64::from(u32::try_from(n).unwrap())
}

/// A container with its payload, padded to four bytes.
pub(crate) fn leaf(src: Src, kind: u16, version: u16, payload: &[u8]) -> Vec<u8> {
    let padded = payload.len().next_multiple_of(4);
    let mut bytes = Vec::with_capacity(20 + padded);
    let contains = TypeId::new(kind, version).word();
    for word in [0, src.log, src.phy, contains, u32::try_from(20 + padded).unwrap()] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes.resize(20 + padded, 0);
    bytes
}

/// A segment's container.
pub(crate) fn segment(children: &[u8]) -> Vec<u8> {
    leaf(Src { log: 0x0200_004d, phy: 0x0a00_0001 }, 1, 1, children)
}

/// A datagram with that root payload.
pub(crate) fn datagram(service: u32, time: Time, children: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [time.nanoseconds, time.seconds, service << 24, time.fiducial, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&leaf(Src { log: 3 << 24, phy: 0 }, 1, 1, children));
    bytes
}

pub(crate) struct Stream {
    pub(crate) big: Vec<u8>,
    pub(crate) small: Vec<u8>,
    /// Of each shot in the big file: time, offset, size.
    pub(crate) shots: Vec<(Time, usize, usize)>,
}

impl Stream {
    pub(crate) fn jungfrau(shots: u32) -> Self {
        Self::jungfrau_of(shots, &|n| pixels(n, 2 * 512 * 1024))
    }

    /// The same with pixels of the caller's.
    pub(crate) fn jungfrau_of(shots: u32, pixels: &dyn Fn(usize) -> Vec<u16>) -> Self {
        let mut this = Self { big: Vec::new(), small: Vec::new(), shots: Vec::new() };
        let src = jungfrau();
        let mut alias = 1u32.to_le_bytes().to_vec();
        for word in [src.log, src.phy] {
            alias.extend_from_slice(&word.to_le_bytes());
        }
        alias.extend_from_slice(b"Jungfrau1M");
        alias.resize(4 + 40, 0);
        let mut config = [2u32, 512, 1024, 200].map(u32::to_le_bytes).concat();
        config.resize(60, 0);
        let control = Src { log: 0, phy: 0x0a00_0002 };
        let configured = [segment(&leaf(src, 107, 2, &config)), leaf(control, 69, 1, &alias)].concat();
        this.transition(4, &configured);
        for service in [6, 8, 10] {
            this.transition(service, &[]);
        }
        for n in 0..shots {
            this.shot(n, &pixels(n as usize));
        }
        for service in [11, 9, 7] {
            this.transition(service, &[]);
        }
        this
    }

    fn transition(&mut self, service: u32, children: &[u8]) {
        self.big.extend_from_slice(&datagram(service, time(0), children));
        let config =
            leaf(Src { log: 4 << 24, phy: 0 }, 89, 1, &u32::try_from(THRESHOLD).unwrap().to_le_bytes());
        let of_small = if service == 4 { [&config, children].concat() } else { children.to_vec() };
        self.small.extend_from_slice(&datagram(service, time(0), &of_small));
    }

    fn shot(&mut self, n: u32, pixels: &[u16]) {
        let mut element = vec![0u8; 16 + 20 * 2];
        element[0..8].copy_from_slice(&u64::from(n).to_le_bytes());
        element.extend(pixels.iter().copied().flat_map(u16::to_le_bytes));
        let mut evr = 2u32.to_le_bytes().to_vec();
        for code in [140u32, 40] {
            evr.extend([time(n).fiducial, 0, code].map(u32::to_le_bytes).concat());
        }
        let mut beam = vec![0u8; 164];
        beam[140..148].copy_from_slice(&energy(n as usize).to_le_bytes());
        let parts = [
            leaf(jungfrau(), 108, 2, &element),
            leaf(Src::detector(0, 0, 5, 0), 19, 4, &evr),
            leaf(Src { log: 6 << 24, phy: 0 }, 15, 7, &beam),
        ];
        let bytes = datagram(12, time(n), &parts.iter().flat_map(|part| segment(part)).collect::<Vec<u8>>());
        let offset = self.big.len();
        let mut at = offset + 40;
        let mut of_small = {
            let mut original = i64::try_from(offset).unwrap().to_le_bytes().to_vec();
            original.extend_from_slice(&u32::try_from(bytes.len() - 20).unwrap().to_le_bytes());
            leaf(Src { log: 4 << 24, phy: 0 }, 90, 1, &original)
        };
        for (part, kind) in parts.iter().zip([108u32, 19, 15]) {
            at += 20;
            if part.len() >= THRESHOLD && kind != 19 {
                let mut proxy = i64::try_from(at).unwrap().to_le_bytes().to_vec();
                proxy.extend_from_slice(&part[12..16]);
                proxy.extend_from_slice(&part[16..20]);
                of_small.extend(segment(&leaf(jungfrau(), 91, 1, &proxy)));
            } else {
                of_small.extend(segment(part));
            }
            at += part.len();
        }
        self.small.extend_from_slice(&datagram(12, time(n), &of_small));
        self.shots.push((time(n), offset, bytes.len()));
        self.big.extend_from_slice(&bytes);
    }

    /// The index file in that version.
    pub(crate) fn index(&self, version: u16) -> Vec<u8> {
        let mut bytes = TypeId::new(38, version).word().to_le_bytes().to_vec();
        let mut name = b"e123-r0007-s00-c00.xtc".to_vec();
        name.resize(32, 0);
        bytes.extend(name);
        let shots = u32::try_from(self.shots.len()).unwrap();
        if version == 1 {
            bytes.extend_from_slice(&[1, 0, 2, 1]);
            bytes.extend_from_slice(&shots.to_le_bytes());
            assert_eq!(bytes.len(), 44);
        } else {
            bytes.extend_from_slice(&[1, 0, 0, 0, 2, 0, 1, 0]);
            for word in [shots, 0, 0, 0] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            assert_eq!(bytes.len(), 60);
        }
        for (time, offset, _) in &self.shots {
            for word in [time.seconds, time.nanoseconds, time.fiducial] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(&(*offset as u64).to_le_bytes());
            bytes.extend_from_slice(&[0; 12]);
            bytes.extend_from_slice(&3u32.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 20]);
        bytes.extend_from_slice(&[40, 140]);
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(1);
        for word in [jungfrau().log, jungfrau().phy, TypeId::new(108, 2).word()] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}
