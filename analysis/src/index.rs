//! From the small index files of an available run to one message per image, exactly once.
