//! From hidden states to a text's vector.

use engine::Pooling;

/// The last of `rows`, or their mean.
pub(crate) fn pooled(rows: &[&[f32]], pooling: Pooling) -> Vec<f32> {
    let Some(last) = rows.last() else {
        return Vec::new();
    };
    if pooling == Pooling::Last {
        return last.to_vec();
    }
    let mean = |column: usize| {
        let sum: f64 = rows.iter().map(|row| f64::from(row[column])).sum();
        (sum / rows.len() as f64) as f32
    };
    (0..last.len()).map(mean).collect()
}
