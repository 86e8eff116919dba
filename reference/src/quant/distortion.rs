//! How far numbers have moved.

use rayon::prelude::*;

use super::PIECE;

/// How far numbers have moved.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::gguf::GgufFile;
/// use harness_reference::quant::file::{Plan, Recipe};
///
/// let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
/// let file = GgufFile::open(&model)?;
/// let recipe = Recipe {
///     format: NumberFormat::Q8_0,
///     output: None,
///     token_embedding: None,
///     pure: false,
/// };
/// Plan::new(&file, &recipe)?.write(std::io::sink(), |report| {
///     let Some(error) = report.error else { return };
///     // Eight bits: a step is 1/127 of the largest of a block.
///     assert!(error.relative_rmse < 0.01 && error.cosine > 0.9999);
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distortion {
    /// Root mean square of the differences over that of the numbers; 0 where
    /// all are zero.
    pub relative_rmse: f64,
    /// The largest difference.
    pub max_abs: f64,
    /// Cosine of the angle between old and new; 1 where either is all zero.
    pub cosine: f64,
}

impl Distortion {
    pub(super) fn between(before: &[f32], after: &[f32]) -> Self {
        // Pieces are summed in order, whatever thread had them.
        let pieces: Vec<Sums> = before
            .par_chunks(PIECE)
            .zip(after.par_chunks(PIECE))
            .map(|(before, after)| Sums::of(before, after))
            .collect();
        let sums = pieces.into_iter().fold(Sums::default(), Sums::add);
        let norms = (sums.before * sums.after).sqrt();
        Self {
            relative_rmse: match sums.before > 0.0 {
                true => (sums.difference / sums.before).sqrt(),
                false => 0.0,
            },
            max_abs: sums.max_abs,
            cosine: if norms > 0.0 {
                sums.product / norms
            } else {
                1.0
            },
        }
    }
}

/// Sums of squares and products.
#[derive(Default)]
struct Sums {
    before: f64,
    after: f64,
    product: f64,
    difference: f64,
    max_abs: f64,
}

impl Sums {
    fn of(before: &[f32], after: &[f32]) -> Self {
        let mut sums = Self::default();
        for (&before, &after) in before.iter().zip(after) {
            let (before, after) = (f64::from(before), f64::from(after));
            let difference = after - before;
            sums.before += before * before;
            sums.after += after * after;
            sums.product += before * after;
            sums.difference += difference * difference;
            sums.max_abs = sums.max_abs.max(difference.abs());
        }
        sums
    }

    fn add(self, other: Self) -> Self {
        Self {
            before: self.before + other.before,
            after: self.after + other.after,
            product: self.product + other.product,
            difference: self.difference + other.difference,
            max_abs: self.max_abs.max(other.max_abs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_computed_pair() {
        let distortion = Distortion::between(&[3.0, 4.0], &[4.0, 3.0]);
        assert!((distortion.relative_rmse - (2.0f64 / 25.0).sqrt()).abs() < 1e-15);
        assert_eq!(distortion.max_abs, 1.0);
        assert!((distortion.cosine - 24.0 / 25.0).abs() < 1e-15);
    }

    #[test]
    fn zeros_do_not_divide() {
        let distortion = Distortion::between(&[0.0; 3], &[0.0; 3]);
        assert_eq!(distortion.relative_rmse, 0.0);
        assert_eq!(distortion.cosine, 1.0);
    }
}
