//! Pictures of images, powders and hit rates as PNG and SVG.
