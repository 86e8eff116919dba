//! How many tokens a function takes at once.

use crate::spec::{Feature, Shapes};

/// Numbers of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// In ascending order.
    These(Vec<usize>),
    FromTo(usize, usize),
}

impl Lengths {
    /// Extents that the last axis of `feature` may have.
    pub(crate) fn of(feature: &Feature) -> Option<Self> {
        let mut lengths = match &feature.shapes {
            Shapes::Fixed => vec![*feature.shape.last()?],
            Shapes::Enumerated(list) => list
                .iter()
                .map(|shape| shape.last().copied())
                .collect::<Option<_>>()?,
            Shapes::Ranges(ranges) => {
                let &(from, to) = ranges.last()?;
                // Converters write ranges from 0 too, for what is never empty.
                let from = from.max(1);
                return (from <= to).then_some(match from == to {
                    true => Self::These(vec![from]),
                    false => Self::FromTo(from, to),
                });
            }
        };
        lengths.retain(|&length| length > 0);
        lengths.sort_unstable();
        lengths.dedup();
        (!lengths.is_empty()).then_some(Self::These(lengths))
    }

    /// The longest that `count` tokens fill.
    pub(crate) fn longest_within(&self, count: usize) -> Option<usize> {
        match self {
            Lengths::These(list) => list.iter().copied().rfind(|&length| length <= count),
            Lengths::FromTo(from, to) => (*from <= count).then_some(count.min(*to)),
        }
    }

    /// The shortest that `count` tokens fit in.
    pub(crate) fn shortest_around(&self, count: usize) -> Option<usize> {
        match self {
            Lengths::These(list) => list.iter().copied().find(|&length| length >= count),
            Lengths::FromTo(from, to) => (count <= *to).then_some(count.max(*from)),
        }
    }

    /// The longest of all, unless there is no end to them.
    pub(crate) fn longest(&self) -> Option<usize> {
        match self {
            Lengths::These(list) => list.last().copied(),
            Lengths::FromTo(_, to) => (*to != usize::MAX).then_some(*to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_cut_into_lengths_that_functions_take() {
        let list = Lengths::These(vec![1, 32, 256]);
        assert_eq!(list.longest_within(300), Some(256));
        assert_eq!(list.longest_within(31), Some(1));
        assert_eq!(list.shortest_around(33), Some(256));
        assert_eq!(list.shortest_around(257), None);
        let range = Lengths::FromTo(4, 64);
        assert_eq!(range.longest_within(3), None);
        assert_eq!(range.longest_within(65), Some(64));
        assert_eq!(range.shortest_around(2), Some(4));
    }
}
