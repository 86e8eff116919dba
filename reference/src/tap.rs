//! Handing intermediate tensors to whoever asked for them.

use engine::{Stage, Tap, TapObserver, TapPoint};

/// An observer, if there is one, and where the decoder is. Without an observer a
/// tap costs a branch.
pub(crate) struct Taps<'a> {
    observer: Option<TapObserver<'a>>,
    position: usize,
    layer: Option<usize>,
}

impl<'a> Taps<'a> {
    /// Nobody looks.
    pub(crate) const NONE: Self = Self {
        observer: None,
        position: 0,
        layer: None,
    };

    pub(crate) fn new(observer: TapObserver<'a>) -> Self {
        Self {
            observer: Some(observer),
            ..Self::NONE
        }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.observer.is_some()
    }

    /// What follows belongs to tokens from `position` on, and to `layer`.
    pub(crate) fn enter(&mut self, position: usize, layer: Option<usize>) {
        (self.position, self.layer) = (position, layer);
    }

    /// Hands over rows of `width` values.
    pub(crate) fn give(&mut self, point: TapPoint, width: usize, values: &[f32]) {
        if let Some(observer) = &mut self.observer {
            observer(Tap {
                stage: Stage {
                    layer: self.layer,
                    point,
                },
                position: self.position,
                width,
                values,
            });
        }
    }
}
