//! Calibration constants as they lie in files (NumPy `.npy`, HDF5, psana text). Applied by [`crate::detectors`], never here.
