//! The journal: what the mover has taken on and not yet finished, kept in sled. Under construction.
