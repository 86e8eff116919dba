//! What goes wrong on a device, in the seam's terms.

use std::sync::{Arc, Mutex, PoisonError};

use engine::{EngineError, FailureKind};

/// The first failure that a device reported behind our back, until it is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lost: Option<String>,
    pending: Option<(FailureKind, String)>,
}

impl Faults {
    /// Listens to `device`.
    pub(crate) fn watch(&self, device: &wgpu::Device) {
        let faults = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| faults.note(&error)));
        let faults = self.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping a device destroys it, which is no fault.
            if reason != wgpu::DeviceLostReason::Destroyed {
                faults.with(|state| state.lost = Some(message.clone()));
            }
        });
    }

    fn note(&self, error: &wgpu::Error) {
        let kind = match error {
            wgpu::Error::OutOfMemory { .. } => FailureKind::OutOfMemory,
            _ => FailureKind::Device,
        };
        self.with(|state| {
            state.pending.get_or_insert((kind, error.to_string()));
        });
    }

    /// Marks the device as lost.
    #[cfg(test)]
    pub(crate) fn lose(&self, why: &str) {
        self.with(|state| state.lost = Some(why.into()));
    }

    /// The failure since the last call, if there was one. A lost device stays lost.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        self.with(|state| {
            if let Some(why) = &state.lost {
                return Err(EngineError::new(
                    FailureKind::Device,
                    format!("the GPU was lost (reset, unplugged or hung): {why}"),
                ));
            }
            match state.pending.take() {
                None => Ok(()),
                Some((FailureKind::OutOfMemory, why)) => Err(EngineError::new(
                    FailureKind::OutOfMemory,
                    format!(
                        "the GPU is out of memory ({why}); use a smaller context (ctx=N) or model"
                    ),
                )),
                Some((kind, why)) => Err(EngineError::new(kind, format!("the GPU failed: {why}"))),
            }
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A failure of the device.
pub(crate) fn device(why: impl Into<String>) -> EngineError {
    EngineError::new(FailureKind::Device, why)
}

/// Something this engine or device cannot do.
pub(crate) fn unsupported(why: impl Into<String>) -> EngineError {
    EngineError::new(FailureKind::Unsupported, why)
}
