use std::ops::Range;

use super::{ChangePoint, ChangePointOptions, describe, relocate};
use crate::energy::{Scan, Split};
use crate::error::StatsError;
use crate::permutation::Permutations;

/// The change points of a series, by E-divisive: no assumption about the noise
/// but that it is exchangeable between changes.
///
/// Of all splits of all segments found so far the one of greatest energy is tested, by
/// permutations within the segments whose own greatest energy is taken anew each time, so that p
/// accounts for the choice among all splits. If it is significant it becomes a change point and
/// the search goes on; if not, the search ends. A series without a change therefore raises an
/// alarm with probability `alpha` at most. In the end each change point is placed
/// anew between its neighbours.
/// (D. S. Matteson, N. A. James, "A Nonparametric Approach for Multiple Change Point
/// Analysis of Multivariate Data", JASA 109, 2014.)
///
/// Unlike theirs the energy statistic is of ranks within the segment, which makes it
/// indifferent to outliers and to the scale, and takes all pairs into the means within a
/// side, which spares it their bias to the ends. Cost: `O(n log n)` a permutation.
///
/// # Errors
/// [`StatsError::TooFew`] for fewer samples than two segments, or segments too
/// short for an interval of their shift at that confidence; [`StatsError::Empty`],
/// [`StatsError::NotFinite`], [`StatsError::BadConfidence`]; [`StatsError::BadAlpha`],
/// [`StatsError::TooFewResamples`], [`StatsError::NoBlock`];
/// [`StatsError::StatisticNotFinite`] when a shift overflows.
///
/// ```
/// use harness_stats::{ChangePointOptions, e_divisive};
///
/// let steady: Vec<f64> = (0..60).map(|i| f64::from(i * 17 % 31)).collect();
/// assert_eq!(e_divisive(&steady, ChangePointOptions::default())?, []);
/// # Ok::<(), harness_stats::StatsError>(())
/// ```
pub fn e_divisive(
    series: &[f64],
    options: ChangePointOptions,
) -> Result<Vec<ChangePoint>, StatsError> {
    options.check(series)?;
    let mut permutations = Permutations::new(options.test);
    let mut segments = vec![Segment::new(series, 0..series.len(), &options)];
    let mut accepted: Vec<(usize, f64)> = Vec::new();
    while let Some((place, split)) = best_of(&segments) {
        let mut shuffled = Vec::new();
        let p = permutations.p_value(split.energy, |shuffle| {
            let energies = segments.iter_mut().map(|segment| {
                shuffle.fill(&mut shuffled, &segment.series);
                let best = segment.scan.best(&shuffled, segment.lengths.clone());
                best.map_or(0.0, |split| split.energy)
            });
            energies.fold(0.0, f64::max)
        });
        if p > options.test.alpha {
            break;
        }
        let Range { start, end } = segments[place].range;
        let index = start + split.at;
        segments[place] = Segment::new(series, start..index, &options);
        segments.insert(place + 1, Segment::new(series, index..end, &options));
        accepted.push((index, p));
    }
    accepted.sort_by_key(|&(index, _)| index);
    let (mut indices, p_values): (Vec<usize>, Vec<f64>) = accepted.into_iter().unzip();
    relocate(series, &mut indices, &options);
    describe(series, indices, &p_values, &options)
}

/// A stretch without a known change.
struct Segment {
    range: Range<usize>,
    lengths: std::ops::RangeInclusive<usize>,
    scan: Scan,
    series: Vec<u32>,
    best: Option<Split>,
}

impl Segment {
    fn new(series: &[f64], range: Range<usize>, options: &ChangePointOptions) -> Self {
        let mut scan = Scan::new(&series[range.clone()]);
        let series = std::mem::take(&mut scan.series);
        let lengths = options.lengths(series.len());
        let best = scan.best(&series, lengths.clone());
        Self {
            range,
            lengths,
            scan,
            series,
            best,
        }
    }
}

/// The segment with the best split, and the split.
fn best_of(segments: &[Segment]) -> Option<(usize, Split)> {
    let splits = segments.iter().enumerate();
    splits
        .filter_map(|(place, segment)| segment.best.map(|split| (place, split)))
        .max_by(|(_, a), (_, b)| a.energy.total_cmp(&b.energy))
}
