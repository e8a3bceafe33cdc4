//! Ranged reads from local files and `root://` URLs; the only module here that imports xrootd.
