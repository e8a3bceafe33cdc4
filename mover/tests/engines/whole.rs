//! One file's whole way between two real clusters, and what happens to it when servers die under it.
