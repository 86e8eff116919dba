//! How alike the vectors of two engines are, text by text and in what they find.

use engine::Embeddings;
use stats::kendall_tau_b;

/// How many nearest texts are compared as a set.
pub(super) const NEAREST: usize = 10;

/// One text, baseline against candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreement {
    /// Of the angle between the two vectors.
    pub(super) cosine: f64,
    /// Squared length of their difference, and of the baseline's vector.
    pub(super) noise: f64,
    pub(super) signal: f64,
    /// The nearest other text is the same.
    pub(super) same_nearest: bool,
    /// Share of the baseline's [`NEAREST`] that are among the candidate's; none
    /// where there are no more texts than that.
    pub(super) nearest_overlap: Option<f64>,
    /// Rank correlation of the other texts by nearness; none where all are equally
    /// near.
    pub(super) tau: Option<f64>,
}

/// Vectors of unit length in f64, from which all cosines follow.
pub(super) struct Directions {
    rows: Vec<Vec<f64>>,
}

impl Directions {
    /// `None` when a vector has no direction.
    pub(super) fn new(vectors: &Embeddings) -> Option<Self> {
        let rows = (0..vectors.rows())
            .map(|index| {
                let row: Vec<f64> = vectors.row(index).iter().map(|&v| v.into()).collect();
                let length = dot(&row, &row).sqrt();
                let direction = row.into_iter().map(|v| v / length);
                (length > 0.0).then(|| direction.collect())
            })
            .collect::<Option<_>>()?;
        Some(Self { rows })
    }

    /// Cosine of every text to text `index`, which is 1 to itself.
    fn to(&self, index: usize) -> Vec<f64> {
        let own = &self.rows[index];
        self.rows.iter().map(|row| dot(row, own)).collect()
    }

    /// Mean cosine of two different texts.
    pub(super) fn between_texts(&self) -> f64 {
        // |Σ u|² counts each pair twice, and every text with itself once.
        let width = self.rows.first().map_or(0, Vec::len);
        let sum = self.rows.iter().fold(vec![0.0; width], |mut sum, row| {
            sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            sum
        });
        let n = self.rows.len() as f64;
        (dot(&sum, &sum) - n) / (n * (n - 1.0))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Exactly 1 for equal vectors: the root of a square is exact, which products of
/// unit vectors are not.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0)
}

/// `Σ (b − a)²` and `Σ a²`.
pub(super) fn energies(a: &[f32], b: &[f32]) -> (f64, f64) {
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        noise += (b - a) * (b - a);
        signal += a * a;
    }
    (noise, signal)
}

/// Compares vectors of the same texts, `None` when one has no direction.
pub(super) fn compare(baseline: &Embeddings, candidate: &Embeddings) -> Option<Vec<Agreement>> {
    let directions = [Directions::new(baseline)?, Directions::new(candidate)?];
    let one = |index: usize| {
        let (noise, signal) = energies(baseline.row(index), candidate.row(index));
        let [a, b] = directions.each_ref().map(|all| all.to(index));
        let [ours, theirs] = [&a, &b].map(|cosines| by_nearness(cosines, index));
        let overlap = |k: usize| {
            let shared = ours[..k].iter().filter(|text| theirs[..k].contains(text));
            shared.count() as f64 / k as f64
        };
        let pairs: Vec<(f64, f64)> = ours.iter().map(|&text| (a[text], b[text])).collect();
        Agreement {
            cosine: cosine(baseline.row(index), candidate.row(index)),
            noise,
            signal,
            same_nearest: ours.first() == theirs.first(),
            nearest_overlap: (ours.len() > NEAREST).then(|| overlap(NEAREST)),
            tau: kendall_tau_b(&pairs).ok(),
        }
    };
    Some((0..baseline.rows()).map(one).collect())
}

/// All texts but `query`, the nearest first; the earlier wins a tie.
fn by_nearness(cosines: &[f64], query: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..cosines.len()).filter(|&text| text != query).collect();
    others.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]));
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors(values: &[f32]) -> Embeddings {
        Embeddings::new(2, values.to_vec()).unwrap()
    }

    #[test]
    fn a_hand_computed_case() {
        let baseline = vectors(&[1.0, 0.0, 2.0, 2.0, 0.0, 3.0]);
        // The last text turned to where the first is.
        let candidate = vectors(&[1.0, 0.0, 2.0, 2.0, 3.0, 0.0]);
        let found = compare(&baseline, &candidate).unwrap();
        assert_eq!((found[0].cosine, found[2].cosine), (1.0, 0.0));
        assert_eq!((found[2].noise, found[2].signal), (18.0, 9.0));
        // From the first the second was nearer, now the third is.
        assert!(!found[0].same_nearest);
        assert_eq!(found[0].tau, Some(-1.0));
        assert_eq!(found[0].nearest_overlap, None);
        // 1/√2 twice and 0 once.
        let between = Directions::new(&baseline).unwrap().between_texts();
        assert!((between - 2f64.sqrt() / 3.0).abs() < 1e-12, "{between}");
    }

    #[test]
    fn a_vector_without_direction_is_not_compared() {
        let (some, none) = (vectors(&[1.0, 0.0]), vectors(&[0.0, 0.0]));
        assert!(compare(&some, &none).is_none());
        assert!(Directions::new(&vectors(&[f32::NAN, 1.0])).is_none());
    }

    proptest! {
        #[test]
        fn equal_vectors_have_a_cosine_of_exactly_one(
            values in prop::collection::vec(-9f32..9.0, 1..99)
        ) {
            prop_assume!(values.iter().any(|&v| v != 0.0));
            prop_assert_eq!(cosine(&values, &values), 1.0);
        }

        #[test]
        fn a_scale_changes_no_direction(
            values in prop::collection::vec(0.5f32..2.0, 24..=24), scale in 1u8..9
        ) {
            let baseline = Embeddings::new(2, values.clone()).unwrap();
            // By a power of two, so that nothing is rounded.
            let scale = f32::from(scale).exp2();
            let scaled = values.iter().map(|v| v * scale).collect();
            let scaled = Embeddings::new(2, scaled).unwrap();
            for text in compare(&baseline, &scaled).unwrap() {
                prop_assert!((text.cosine - 1.0).abs() < 1e-12);
                prop_assert!(text.same_nearest);
                prop_assert_eq!(text.nearest_overlap, Some(1.0));
                prop_assert!(text.tau.is_none_or(|tau| (tau - 1.0).abs() < 1e-12));
            }
        }
    }
}
