//! Which sizes of workgroups and tiles make products fastest on a device: measured once for each
//! format of weights, and kept on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use engine::{EngineError, PreparedKernel};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::disk;
use crate::ops::{ProductStyle, Put, Tokens};
use crate::shader::Weights;
use crate::tensor::{Matrix, Rows};

/// Threads that share the columns of a row, in products of one token.
pub(crate) const LANES: [u32; 4] = [64, 32, 128, 256];
/// Threads of a workgroup along rows and along tokens, in products of many.
pub(crate) const TILES: [[u32; 2]; 5] = [[16, 16], [8, 8], [16, 8], [8, 16], [32, 8]];
/// Rows and columns of the matrix that is tried, and tokens.
const SIDE: usize = 2048;
const TOKENS: usize = 256;
/// Timings of a choice, of which the least counts: whatever disturbs one makes it longer.
const TIMINGS: usize = 5;
/// What a timing should last at least.
const LEAST_NS: f64 = 1e6;
const MOST_RUNS: u32 = 200;

/// How products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Threads that share the columns of a row, in products of one token.
    pub(crate) lanes: u32,
    /// How products of many tokens are made.
    pub(crate) many: Many,
}

/// How products of many tokens are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Many {
    /// By cooperative matrices, where the device has them, and else in the first of the tiles.
    Cooperative,
    /// In registers, by workgroups of so many threads along rows and along tokens.
    Tile([u32; 2]),
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            lanes: LANES[0],
            many: Many::Cooperative,
        }
    }
}

impl Choice {
    /// Whether it is one that would be tried.
    fn is_known(self) -> bool {
        LANES.contains(&self.lanes)
            && match self.many {
                Many::Cooperative => true,
                Many::Tile(tile) => TILES.contains(&tile),
            }
    }
}

impl Many {
    /// Threads along rows and along tokens, where the product is made in registers.
    pub(crate) fn tile(self) -> [u32; 2] {
        match self {
            Self::Cooperative => TILES[0],
            Self::Tile(tile) => tile,
        }
    }
}

/// When to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tune {
    /// What was not measured before, on hardware. A GPU in software compiles for longer than it
    /// would gain.
    #[default]
    Once,
    /// Whatever was measured before.
    Again,
    Never,
}

/// What was measured.
pub(crate) struct Tuning {
    /// By format of weights, and whether operands are rounded to f16.
    choices: Mutex<BTreeMap<(Weights, bool), Choice>>,
    /// Where it is kept.
    path: Option<PathBuf>,
    measures: bool,
}

/// What is kept of one format.
#[derive(Serialize, Deserialize)]
struct Kept {
    weights: String,
    half: bool,
    #[serde(flatten)]
    choice: Choice,
}

impl Tuning {
    /// What is known of a device with this adapter.
    pub(crate) fn of(info: &wgpu::AdapterInfo, tune: Tune) -> Self {
        let measures = match tune {
            Tune::Once => info.device_type != wgpu::DeviceType::Cpu,
            Tune::Again => true,
            Tune::Never => false,
        };
        let path = measures.then(|| disk::folder().map(|folder| folder.join(file_name(info))));
        let path = path.flatten();
        let choices = match (tune, &path) {
            (Tune::Once, Some(path)) => read(path),
            _ => BTreeMap::new(),
        };
        Self {
            choices: Mutex::new(choices),
            path,
            measures,
        }
    }

    /// How to make products with `weights`.
    pub(crate) fn choice(&self, weights: Weights, half: bool) -> Choice {
        let choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        choices.get(&(weights, half)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&self, weights: Weights, half: bool, choice: Choice) {
        let mut choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        choices.insert((weights, half), choice);
    }

    fn knows(&self, weights: Weights, half: bool) -> bool {
        let choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        choices.contains_key(&(weights, half))
    }

    /// What cannot be kept is measured again.
    fn save(&self) {
        let Some(path) = &self.path else { return };
        let choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = choices.iter().map(|(&(weights, half), &choice)| Kept {
            weights: weights.name().into(),
            half,
            choice,
        });
        if let Ok(text) = serde_json::to_vec_pretty(&kept.collect::<Vec<_>>()) {
            disk::replace(path, &text);
        }
    }
}

/// One file for a device with its driver, and for what this version would try.
fn file_name(info: &wgpu::AdapterInfo) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("{} {} {version}", info.name, info.driver_info);
    let plain = name.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => c,
        _ => '_',
    });
    format!(
        "tuning-{:04x}-{:04x}-{}.json",
        info.vendor,
        info.device,
        plain.collect::<String>()
    )
}

/// What a file tells, but for what is not to be understood.
fn read(path: &Path) -> BTreeMap<(Weights, bool), Choice> {
    let kept = fs::read(path).ok();
    let kept = kept.and_then(|text| serde_json::from_slice::<Vec<Kept>>(&text).ok());
    let kept = kept.into_iter().flatten().filter_map(|kept| {
        let mut all = Weights::ALL.into_iter();
        let weights = all.find(|weights| weights.name() == kept.weights)?;
        kept.choice
            .is_known()
            .then_some(((weights, kept.half), kept.choice))
    });
    kept.collect()
}

impl Device {
    /// Measures how products with `weights` are made fastest, if that is wanted and unknown.
    pub(crate) fn tune(&self, weights: Weights, half: bool) -> Result<(), EngineError> {
        if !self.tuning.measures || self.tuning.knows(weights, half) {
            return Ok(());
        }
        let lanes = LANES.map(|lanes| Choice {
            lanes,
            ..Choice::default()
        });
        let best = self.fastest(&lanes, weights, half, 1)?;
        let cooperative = self
            .powers
            .matrices
            .iter()
            .any(|matrix| matrix.half == half);
        let many = TILES.map(Many::Tile).into_iter();
        let many = many.chain(cooperative.then_some(Many::Cooperative));
        let many: Vec<Choice> = many.map(|many| Choice { many, ..best }).collect();
        let best = self.fastest(&many, weights, half, TOKENS)?;
        self.tuning.set(weights, half, best);
        self.tuning.save();
        Ok(())
    }

    /// The one of `choices` that multiplies `tokens` fastest.
    fn fastest(
        &self,
        choices: &[Choice],
        weights: Weights,
        half: bool,
        tokens: usize,
    ) -> Result<Choice, EngineError> {
        let bytes = vec![0; SIDE * SIDE / weights.block() * weights.block_bytes()];
        let matrix = Matrix::upload(self, "a matrix to try", weights, (SIDE, SIDE), &bytes)?;
        let input = Rows::new(self, "tokens to try", tokens, SIDE)?;
        let mut best = (f64::INFINITY, Choice::default());
        for &choice in choices {
            let out = Rows::new(self, "outputs to try", tokens, SIDE)?;
            let (matrix, input) = (&matrix, &input);
            let mut kernel = self.prepared(out, tokens, move |recorder, out| {
                let (x, y) = (Tokens::first(input, tokens), Tokens::first(out, tokens));
                let choice = Some(choice);
                let style = ProductStyle { half, choice };
                recorder.product(matrix, x, None, y, Put::Store, style)
            })?;
            kernel.time(1)?;
            let runs = LEAST_NS / kernel.time(1)?.total_ns.max(1.0);
            let runs = (runs.ceil() as u32).clamp(1, MOST_RUNS);
            for _ in 0..TIMINGS {
                let ns = kernel.time(runs)?.total_ns / f64::from(runs);
                if ns < best.0 {
                    best = (ns, choice);
                }
            }
        }
        Ok(best.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(path: &Path) -> Tuning {
        Tuning {
            choices: Mutex::default(),
            path: Some(path.to_owned()),
            measures: true,
        }
    }

    #[test]
    fn what_was_measured_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("tuning.json");
        assert!(read(&path).is_empty());
        let tuning = tuning(&path);
        let tile = Choice {
            lanes: 128,
            many: Many::Tile([8, 16]),
        };
        tuning.set(Weights::Q4K, true, tile);
        tuning.set(Weights::F32, false, Choice::default());
        tuning.save();
        let again = read(&path);
        assert_eq!(again, *tuning.choices.lock().unwrap());
        assert_eq!(again[&(Weights::Q4K, true)], tile);
    }

    #[test]
    fn what_is_not_understood_is_measured_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.json");
        for text in [
            "",
            "[",
            "{}",
            r#"[{"weights":"q9","half":true,"lanes":64,"many":"cooperative"}]"#,
            r#"[{"weights":"f32","half":true,"lanes":63,"many":"cooperative"}]"#,
            r#"[{"weights":"f32","half":true,"lanes":64,"many":{"tile":[1000,1000]}}]"#,
        ] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_empty(), "{text}");
        }
    }
}
