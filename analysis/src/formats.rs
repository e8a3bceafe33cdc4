//! Layouts of data files. Parsers take bytes: they never panic, never allocate by an unchecked length, never loop for ever,
//! and never open a file themselves.
