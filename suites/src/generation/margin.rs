//! How far a draw was from falling on another token.
//!
//! Errors on the logits are taken as independent, normal and of deviation `σ`,
//! small enough for first order. They change a draw when they change the order of
//! the chosen token and its neighbour, when they move a bound of its share of
//! probability across `u`, or when a filter keeps one token more or less and `u`
//! falls on another for that. Each is a quantity `x` of deviation `s σ` crossing
//! something at distance `d`, with probability `Φ(−d / (s σ))`. So that one number
//! serves draws and greedy choices alike, the margin is `√2 d / s`, least of all:
//! two logits that are `m` apart change places with probability `Φ(−m / (σ√2))`.
//!
//! * Logits: `d = zᵢ − zⱼ`, `s = √2`, so the margin is their distance.
//! * The share `P = Σ_{i≤m} pᵢ` of the first `m` of `n` tokens, with temperature `T`:
//!   `∂P/∂zⱼ = pⱼ ([j ≤ m] − P) / T`, so
//!   `s² = ((1 − P)² Σ_{i≤m} pᵢ² + P² Σ_{m<i≤n} pᵢ²) / T²`.

use std::f64::consts::SQRT_2;

use super::sampling::{Ranking, Sampling};

/// Margin of the draw that fell on `place`, in nats.
pub(super) fn of_draw(ranking: &Ranking, sampling: &Sampling, place: usize, u: f64) -> f64 {
    let temperature = sampling.temperature;
    let gap = |first: usize| {
        let pair = ranking.scaled.get(first).zip(ranking.scaled.get(first + 1));
        pair.map_or(f64::MAX, |(a, b)| (a - b) * temperature)
    };
    let share =
        |first: usize, of: usize, bound: f64| distance(ranking, first, of, bound) * temperature;
    let kept = ranking.kept;
    let mut margin = gap(place);
    if place > 0 {
        let least = gap(place - 1).min(share(place, kept, u));
        margin = margin.min(least);
    }
    if place + 1 < kept {
        margin = margin.min(share(place + 1, kept, u));
    }
    let chooses_another = |kept: usize| ranking.draw(kept, u) != place;
    // The filter that cut last has its bound at the end of what is kept.
    let by_share = kept == ranking.by_p && sampling.top_p < 1.0;
    let threshold = |last: usize| {
        let behind = ranking.scaled.get(last).map(|x| x - sampling.min_p.ln());
        behind.map_or(f64::MAX, |distance| distance.abs() * temperature)
    };
    if kept > 1 && chooses_another(kept - 1) {
        if by_share {
            margin = margin.min(share(kept - 1, ranking.by_k, sampling.top_p));
        }
        if sampling.min_p > 0.0 {
            margin = margin.min(threshold(kept - 1));
        }
    }
    if kept < ranking.by_k && chooses_another(kept + 1) {
        let by_threshold = sampling.min_p > 0.0 && ranking.weights[kept] < sampling.min_p;
        // Both filters must let the token in.
        let mut most: f64 = 0.0;
        if by_share {
            most = share(kept, ranking.by_k, sampling.top_p);
        }
        if by_threshold {
            most = most.max(threshold(kept));
        }
        margin = margin.min(most);
    }
    margin
}

/// `√2 d / s` for the share of the first `first` of `of` tokens and `bound`, at
/// temperature 1.
fn distance(ranking: &Ranking, first: usize, of: usize, bound: f64) -> f64 {
    let total = ranking.sums[of];
    let share = ranking.sums[first] / total;
    let squares = |weights: &[f64]| weights.iter().map(|w| (w / total).powi(2)).sum::<f64>();
    let (inside, outside) = ranking.weights[..of].split_at(first);
    let variance = (1.0 - share).powi(2) * squares(inside) + share.powi(2) * squares(outside);
    let distance = SQRT_2 * (share - bound).abs() / variance.sqrt();
    // Nothing outside: the share is 1, whatever the logits.
    if distance.is_finite() {
        distance
    } else {
        f64::MAX
    }
}
