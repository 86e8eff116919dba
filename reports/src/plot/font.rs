//! The font of bitmaps, by which texts of all pictures are measured.

use std::sync::Once;

use plotters::style::{FontStyle, register_font};

/// DejaVu Sans (version 2.37, Debian's fonts-dejavu-core; licence beside it), cut down to Latin-1, Greek, arrows
/// and signs by pyftsubset.
const SANS: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Makes it known to plotters.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // What fails here fails in the tests: the font is ours.
        let _ = register_font("sans-serif", FontStyle::Normal, SANS);
    });
}
