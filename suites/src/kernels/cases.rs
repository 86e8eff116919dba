//! Operands of every kernel: random ones and adversarial shapes.

use engine::{KernelCall, NumberFormat};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::blocks::{self, Numbers};

/// Operands that are kept for a call.
pub(super) struct Case {
    /// Kernel and format, e.g. `product.q4_0`.
    pub(super) name: String,
    /// Extents, for messages.
    pub(super) shape: String,
    operands: Operands,
}

enum Operands {
    Product {
        format: NumberFormat,
        weights: Vec<u8>,
        shape: [usize; 2],
        x: Vec<f32>,
        operands: NumberFormat,
    },
    Attention {
        shape: AttentionShape,
        queries: Vec<f32>,
        keys: Vec<f32>,
        values: Vec<f32>,
        kv: NumberFormat,
    },
    RmsNorm {
        weight: Vec<f32>,
        x: Vec<f32>,
    },
    Rope {
        dim: usize,
        x: Vec<f32>,
        cos: Vec<f32>,
        sin: Vec<f32>,
    },
    Swiglu {
        gate: Vec<f32>,
        up: Vec<f32>,
    },
    Softmax {
        width: usize,
        x: Vec<f32>,
    },
    Top {
        count: usize,
        width: usize,
        x: Vec<f32>,
    },
}

/// Extents of attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionShape {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
    pub(super) start: usize,
    pub(super) tokens: usize,
}

impl Case {
    /// The kernel's call.
    pub(super) fn call(&self) -> KernelCall<'_> {
        match &self.operands {
            Operands::Product {
                format,
                weights,
                shape: [rows, columns],
                x,
                operands,
            } => KernelCall::Product {
                format: *format,
                weights,
                rows: *rows,
                columns: *columns,
                x,
                operands: *operands,
            },
            Operands::Attention {
                shape,
                queries,
                keys,
                values,
                kv,
            } => KernelCall::Attention {
                heads: shape.heads,
                kv_heads: shape.kv_heads,
                dim: shape.dim,
                start: shape.start,
                scale: (shape.dim as f32).sqrt().recip(),
                queries,
                keys,
                values,
                kv: *kv,
            },
            Operands::RmsNorm { weight, x } => KernelCall::RmsNorm {
                epsilon: 1e-5,
                weight,
                x,
            },
            Operands::Rope { dim, x, cos, sin } => KernelCall::Rope {
                dim: *dim,
                x,
                cos,
                sin,
            },
            Operands::Swiglu { gate, up } => KernelCall::Swiglu { gate, up },
            Operands::Softmax { width, x } => KernelCall::Softmax { width: *width, x },
            Operands::Top { count, width, x } => KernelCall::Top {
                count: *count,
                width: *width,
                x,
            },
        }
    }

    /// `rows` outputs of `columns` inputs for `tokens` tokens.
    pub(super) fn product(
        format: NumberFormat,
        [rows, columns, tokens]: [usize; 3],
        numbers: Numbers,
        operands: NumberFormat,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let x = (0..tokens * columns).map(|_| match numbers {
            Numbers::Random => rng.random_range(-1.0..1.0),
            Numbers::Whole => f32::from(rng.random_range(-3i8..=3)),
        });
        let x = x.collect();
        let exact = if numbers == Numbers::Whole {
            ".whole"
        } else {
            ""
        };
        let rounded = if operands == NumberFormat::F16 {
            ".f16_operands"
        } else {
            ""
        };
        Self {
            name: format!("product.{format}{rounded}{exact}"),
            shape: format!("{rows}×{columns}, {tokens} tokens"),
            operands: Operands::Product {
                format,
                weights: blocks::bytes(format, rows * columns, numbers, rng),
                shape: [rows, columns],
                x,
                operands,
            },
        }
    }

    /// Queries of `tokens` tokens behind `start`.
    pub(super) fn attention(shape: AttentionShape, kv: NumberFormat, rng: &mut ChaCha8Rng) -> Self {
        let AttentionShape {
            heads,
            kv_heads,
            dim,
            start,
            tokens,
        } = shape;
        // Sixteenths, which f16 holds.
        let cached = |rng: &mut ChaCha8Rng| -> Vec<f32> {
            let count = (start + tokens) * kv_heads * dim;
            (0..count)
                .map(|_| f32::from(rng.random_range(-32i8..=32)) / 16.0)
                .collect()
        };
        Self {
            name: format!("attention.{kv}"),
            shape: format!(
                "{heads} heads over {kv_heads} of {dim}, {tokens} tokens behind {start}"
            ),
            operands: Operands::Attention {
                shape,
                queries: uniform(rng, tokens * heads * dim, 2.0),
                keys: cached(rng),
                values: cached(rng),
                kv,
            },
        }
    }

    /// `length` values of each branch.
    pub(super) fn swiglu(length: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut gate = uniform(rng, length, 8.0);
        // Where exp has no f32 any more.
        for (gate, extreme) in gate.iter_mut().zip([0.0, -200.0, 200.0, -87.0, 88.5]) {
            *gate = extreme;
        }
        Self {
            name: "swiglu".into(),
            shape: format!("{length}"),
            operands: Operands::Swiglu {
                gate,
                up: uniform(rng, length, 2.0),
            },
        }
    }

    fn rms_norm(width: usize, tokens: usize, rng: &mut ChaCha8Rng) -> Self {
        Self {
            name: "rms_norm".into(),
            shape: format!("{tokens}×{width}"),
            operands: Operands::RmsNorm {
                weight: uniform(rng, width, 2.0),
                x: uniform(rng, width * tokens, 4.0),
            },
        }
    }

    fn rope(dim: usize, heads: usize, tokens: usize, rng: &mut ChaCha8Rng) -> Self {
        let angles = uniform(rng, tokens * dim / 2, 100.0);
        Self {
            name: "rope".into(),
            shape: format!("{tokens} tokens of {heads} heads of {dim}"),
            operands: Operands::Rope {
                dim,
                x: uniform(rng, tokens * heads * dim, 2.0),
                cos: angles.iter().map(|angle| angle.cos()).collect(),
                sin: angles.iter().map(|angle| angle.sin()).collect(),
            },
        }
    }

    fn softmax(width: usize, rows: usize, reach: f32, rng: &mut ChaCha8Rng) -> Self {
        Self {
            name: "softmax".into(),
            shape: format!("{rows}×{width} within ±{reach}"),
            operands: Operands::Softmax {
                width,
                x: uniform(rng, width * rows, reach),
            },
        }
    }

    fn top(count: usize, width: usize, rows: usize, rng: &mut ChaCha8Rng) -> Self {
        // Few values, so that many are equal.
        let x = (0..width * rows).map(|_| f32::from(rng.random_range(-20i8..=20)));
        Self {
            name: "top".into(),
            shape: format!("{count} of {rows}×{width}"),
            operands: Operands::Top {
                count,
                width,
                x: x.collect(),
            },
        }
    }
}

fn uniform(rng: &mut ChaCha8Rng, count: usize, reach: f32) -> Vec<f32> {
    (0..count)
        .map(|_| rng.random_range(-reach..reach))
        .collect()
}

/// Every case, in an order that `seed` does not change.
pub(super) fn all(seed: u64) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rng = &mut rng;
    let mut cases = Vec::new();
    for format in blocks::FORMATS {
        let (block, _) = blocks::block(format);
        // One, odd numbers, tiles and one more or less; the sum of squares of work stays small.
        let mut shapes = vec![
            [1, 1, 1],
            [1, 3, 2],
            [7, 5, 1],
            [3, 33, 5],
            [65, 17, 3],
            [129, 2, 66],
        ];
        shapes.extend([
            [33, 9, 31],
            [64, 16, 64],
            [5, 1000, 1],
            [4, 129, 1],
            [70, 6, 17],
        ]);
        let mut product = |shape, numbers, operands| {
            cases.push(Case::product(format, shape, numbers, operands, rng));
        };
        for [rows, columns, tokens] in shapes {
            // Of blocks fewer, but the same parities.
            let columns = block * if block == 1 { columns } else { columns % 8 + 1 };
            for numbers in [Numbers::Random, Numbers::Whole] {
                let shape = [rows, columns, tokens];
                product(shape, numbers, NumberFormat::F32);
                if tokens > 1 {
                    product(shape, numbers, NumberFormat::F16);
                }
            }
        }
        for tokens in [1, 5] {
            let shape = [3, 4096, tokens];
            for numbers in [Numbers::Random, Numbers::Whole] {
                product(shape, numbers, NumberFormat::F32);
            }
        }
    }
    for kv in [NumberFormat::F32, NumberFormat::F16] {
        for (heads, kv_heads, dim, start, tokens) in [
            (1, 1, 4, 0, 1),
            (1, 1, 64, 0, 2),
            (4, 2, 64, 0, 37),
            (4, 2, 64, 37, 1),
            (6, 2, 20, 10, 33),
            (8, 1, 32, 299, 1),
            (2, 2, 256, 5, 9),
            (9, 3, 128, 1000, 1),
            (3, 1, 16, 500, 7),
        ] {
            let shape = AttentionShape {
                heads,
                kv_heads,
                dim,
                start,
                tokens,
            };
            cases.push(Case::attention(shape, kv, rng));
        }
    }
    for (width, tokens) in [(1, 1), (7, 3), (64, 2), (65, 5), (1000, 1), (4096, 2)] {
        cases.push(Case::rms_norm(width, tokens, rng));
    }
    for (dim, heads, tokens) in [(4, 1, 1), (64, 3, 5), (128, 8, 2), (20, 2, 33)] {
        cases.push(Case::rope(dim, heads, tokens, rng));
    }
    for length in [8, 31, 64, 1000, 4097] {
        cases.push(Case::swiglu(length, rng));
    }
    for (width, rows, reach) in [(1, 1, 1.0), (5, 3, 4.0), (64, 2, 30.0), (1000, 7, 80.0)] {
        cases.push(Case::softmax(width, rows, reach, rng));
    }
    for (count, width, rows) in [(1, 1, 1), (1, 1000, 3), (5, 33, 2), (40, 4096, 1)] {
        cases.push(Case::top(count, width, rows, rng));
    }
    cases
}
