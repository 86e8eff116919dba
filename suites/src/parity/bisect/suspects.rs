//! From a place to the parts of the network that stand behind it.

use engine::{Stage, TapPoint};

use super::trace::Place;

/// The parts that alone can have spoilt `at` when every place of `agreeing` is
/// right, in the order of computation: whatever `at` is computed from, as far back
/// as a place that agrees. `has` tells whether the model is known to have a point
/// that not all models have.
pub(super) fn parts(
    at: Place,
    agreeing: &[Place],
    layers: usize,
    has: impl Fn(TapPoint) -> bool,
) -> Vec<&'static str> {
    let mut suspects = vec![at];
    let mut next = 0;
    while next < suspects.len() {
        for input in inputs(suspects[next], layers) {
            if !agreeing.contains(&input) && !suspects.contains(&input) {
                suspects.push(input);
            }
        }
        next += 1;
    }
    suspects.sort_by_key(|&place| order(place));
    let mut parts = Vec::new();
    for place in suspects {
        let exists = match place {
            Place::Logits => true,
            Place::Tap(stage) => everywhere(stage.point) || has(stage.point),
        };
        let part = part(place);
        if exists && !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Part of the network that computes a place.
fn part(place: Place) -> &'static str {
    use TapPoint as P;
    let Place::Tap(stage) = place else {
        return "head";
    };
    match stage.point {
        P::Embedding => "embedding",
        P::AttentionNorm | P::QueryNorm | P::KeyNorm | P::AttentionPostNorm => "norm",
        P::FfnNorm | P::FfnPostNorm | P::FinalNorm => "norm",
        P::Query | P::Key | P::Value => "q/k/v",
        P::QueryRope | P::KeyRope => "rope",
        P::AttentionMix | P::AttentionOutput | P::AttentionResidual => "attention",
        P::FfnInner | P::FfnOutput | P::Residual => "ffn",
    }
}

/// Whether every architecture has the point.
fn everywhere(point: TapPoint) -> bool {
    use TapPoint as P;
    !matches!(
        point,
        P::QueryNorm
            | P::KeyNorm
            | P::QueryRope
            | P::KeyRope
            | P::AttentionPostNorm
            | P::FfnNorm
            | P::FfnPostNorm
    )
}

/// What a place is computed from. A point that a model does not have passes on its
/// own input.
fn inputs(place: Place, layers: usize) -> Vec<Place> {
    use TapPoint as P;
    let behind = |layer: usize| match layer.checked_sub(1) {
        None => Place::Tap(Stage {
            layer: None,
            point: P::Embedding,
        }),
        last => Place::Tap(Stage {
            layer: last,
            point: P::Residual,
        }),
    };
    let Place::Tap(Stage { layer, point }) = place else {
        return vec![Place::Tap(Stage {
            layer: None,
            point: P::FinalNorm,
        })];
    };
    let stream = behind(layer.unwrap_or(layers));
    let here = |point| Place::Tap(Stage { layer, point });
    match point {
        P::Embedding => vec![],
        P::AttentionNorm | P::FinalNorm => vec![stream],
        P::Query | P::Key | P::Value => vec![here(P::AttentionNorm)],
        P::QueryNorm => vec![here(P::Query)],
        P::KeyNorm => vec![here(P::Key)],
        P::QueryRope => vec![here(P::QueryNorm)],
        P::KeyRope => vec![here(P::KeyNorm)],
        P::AttentionMix => [P::QueryRope, P::KeyRope, P::Value].map(here).to_vec(),
        P::AttentionOutput => vec![here(P::AttentionMix)],
        P::AttentionPostNorm => vec![here(P::AttentionOutput)],
        P::AttentionResidual => vec![here(P::AttentionPostNorm), stream],
        P::FfnNorm => vec![here(P::AttentionResidual)],
        P::FfnInner => vec![here(P::FfnNorm)],
        P::FfnOutput => vec![here(P::FfnInner)],
        P::FfnPostNorm => vec![here(P::FfnOutput)],
        P::Residual => vec![here(P::FfnPostNorm), here(P::AttentionResidual)],
    }
}

/// Sorts places by the order of computation.
fn order(place: Place) -> (usize, usize) {
    let Place::Tap(stage) = place else {
        return (usize::MAX, 1);
    };
    match (stage.layer, stage.point) {
        (None, TapPoint::Embedding) => (0, 0),
        (None, _) => (usize::MAX, 0),
        (Some(layer), point) => (layer + 1, point as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(layer: usize, point: TapPoint) -> Place {
        Place::Tap(Stage {
            layer: Some(layer),
            point,
        })
    }

    #[test]
    fn with_every_point_one_part_is_left() {
        use TapPoint as P;
        let all = |layer| P::ALL.map(|point| at(layer, point));
        for (point, part) in [
            (P::AttentionNorm, "norm"),
            (P::Key, "q/k/v"),
            (P::KeyNorm, "norm"),
            (P::KeyRope, "rope"),
            (P::AttentionMix, "attention"),
            (P::AttentionResidual, "attention"),
            (P::FfnInner, "ffn"),
        ] {
            let agreeing: Vec<Place> = [all(0), all(1)]
                .concat()
                .into_iter()
                .filter(|&place| place != at(1, point))
                .collect();
            assert_eq!(parts(at(1, point), &agreeing, 2, |_| true), [part]);
        }
    }

    #[test]
    fn the_residual_stream_alone_names_a_block() {
        use TapPoint as P;
        let agreeing = [at(0, P::Residual)];
        let found = parts(at(1, P::Residual), &agreeing, 3, |p| p == P::QueryRope);
        assert_eq!(
            found,
            ["norm", "q/k/v", "rope", "attention", "ffn"],
            "in the order of computation"
        );
    }

    #[test]
    fn what_is_not_handed_over_stays_suspect() {
        use TapPoint as P;
        // Values are unseen, so a wrong mixture may be theirs.
        let agreeing = [
            at(1, P::AttentionNorm),
            at(1, P::QueryRope),
            at(1, P::KeyRope),
        ];
        let found = parts(at(1, P::AttentionMix), &agreeing, 3, |_| true);
        assert_eq!(found, ["q/k/v", "attention"]);
        // Queries agree, which says nothing of the keys.
        let agreeing = [at(1, P::AttentionNorm), at(1, P::QueryRope)];
        let found = parts(at(1, P::KeyRope), &agreeing, 3, |_| false);
        assert_eq!(found, ["q/k/v"]);
    }

    #[test]
    fn the_head_stands_behind_the_last_block() {
        use TapPoint as P;
        let found = parts(Place::Logits, &[at(2, P::Residual)], 3, |_| false);
        assert_eq!(found, ["norm", "head"]);
    }
}
