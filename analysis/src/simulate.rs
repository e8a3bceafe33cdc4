//! A beam time with known truth: diffraction, detector and DAQ files.
