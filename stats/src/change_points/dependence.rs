use super::stretches;
use crate::ranks::Ranks;

/// The largest correlation that is believed: beyond, a series is a random walk rather than
/// levels with noise, and nothing would be a change.
const MOST: f64 = 0.9;

/// How much more a mean varies, in variance, than that of as many independent samples: `(1 + r)/(1 - r)`
/// for noise in which each sample is `r` times the one before, plus something new. At least 1.
///
/// `r` is the correlation of neighbours' ranks around the mean rank of their segment (ranks:
/// no outlier decides), without its bias of `-(1 + 3r)/n` a segment (M. G. Kendall, "Note on
/// bias in the estimation of autocorrelation", Biometrika 41, 1954), and 0 if it is below its own
/// standard error in independent noise, `1/√n`.
pub(super) fn inflation(series: &[f64], indices: &[usize]) -> f64 {
    let ranks = Ranks::new(series).doubled;
    let segments = stretches(indices, series.len());
    let segments = segments.into_iter().map(|stretch| &ranks[stretch]);
    variance_factor(segments, series.len())
}

/// The same for stretches of ranks, of which `independent` samples do not repeat what others tell.
pub(crate) fn variance_factor<'a>(
    stretches: impl Iterator<Item = &'a [usize]>,
    independent: usize,
) -> f64 {
    let (mut products, mut squares) = (0.0, 0.0);
    let (mut count, mut samples) = (0, 0);
    for ranks in stretches {
        (count, samples) = (count + 1, samples + ranks.len());
        let mean = ranks.iter().map(|&rank| rank as f64).sum::<f64>() / ranks.len() as f64;
        let from_mean: Vec<f64> = ranks.iter().map(|&rank| rank as f64 - mean).collect();
        products += from_mean.windows(2).map(|two| two[0] * two[1]).sum::<f64>();
        squares += from_mean.iter().map(|x| x * x).sum::<f64>();
    }
    if squares == 0.0 {
        return 1.0;
    }
    let raw = products / squares;
    let r = raw + f64::from(count) * (1.0 + 3.0 * raw.max(0.0)) / samples as f64;
    if r < 1.0 / (independent as f64).sqrt() {
        return 1.0;
    }
    let r = r.min(MOST);
    (1.0 + r) / (1.0 - r)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Noise in which each sample is `r` times the one before plus a uniform one.
    fn autoregressive(r: f64, n: usize) -> Vec<f64> {
        let mut stream = ChaCha8Rng::seed_from_u64(1);
        let mut last = 0.0;
        let mut next = || {
            last = r * last + stream.random_range(-1.0..1.0);
            last
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn dependence_is_measured_within_segments() {
        let n = 4_000;
        for r in [0.3, 0.6] {
            let mut series = autoregressive(r, n);
            series[n / 2..].iter_mut().for_each(|x| *x += 20.0);
            let expected = (1.0 + r) / (1.0 - r);
            // The standard error of r is √((1 - r²)/n), and ranks of nearly uniform noise
            // correlate a few per cent less than the noise: a tenth holds both.
            let found = inflation(&series, &[n / 2]);
            assert!((found / expected - 1.0).abs() < 0.1, "{r}: {found}");
            // Unseen, the step itself looks like dependence, up to the most that is believed.
            assert!(inflation(&series, &[]) > 2.0 * expected);
        }
    }

    #[test]
    fn independent_and_constant_samples_are_taken_as_they_are() {
        assert_eq!(inflation(&[7.0; 40], &[]), 1.0);
        let alternating: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        assert_eq!(inflation(&alternating, &[]), 1.0);
        let shuffled: Vec<f64> = (0..100).map(|i| f64::from(i * 37 % 101)).collect();
        assert_eq!(inflation(&shuffled, &[]), 1.0);
    }
}
