//! The kernels' sources, put together from modules, and the constants that choose tile sizes.

use std::borrow::Cow;

/// A kernel in WGSL, before its constants are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shader {
    /// A product with one token.
    Matvec { weights: Weights, subgroups: bool },
    /// A product with many tokens, whose tiles are f32 or rounded to f16.
    Gemm { weights: Weights, half: bool },
    /// The same on cooperative matrices.
    GemmCoop { weights: Weights, matrix: Matrix },
    /// RMS or layer norm.
    Norm { subgroups: bool },
    /// Rotation of heads, and storing of keys and values.
    Rope { half: bool },
    /// Attention over a cache.
    Attention { half: bool },
    /// The parts of attention put together.
    Merge,
    /// Rows of a table.
    Embed { weights: Weights },
    /// Activation of the feed forward.
    Glu,
    /// Softmax of rows.
    Softmax { subgroups: bool },
    /// Largest values of rows.
    Top,
    /// Shows whether the driver computes loops.
    SelfTest,
    /// Multiplications and additions alone.
    RoofMultiplyAdd,
    /// Products of cooperative matrices alone.
    RoofMatrix { matrix: Matrix },
    /// Reading and writing alone.
    RoofCopy,
}

/// How a kernel finds the numbers of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Weights {
    F32,
    F16,
    Q8_0,
    Q4_0,
    Q4K,
}

/// Cooperative matrices of `side` by `side`, with f32 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Matrix {
    /// 8 or 16.
    pub(crate) side: u32,
    /// Operands are f16, else f32.
    pub(crate) half: bool,
}

impl Weights {
    pub(crate) const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Q8_0, Self::Q4_0, Self::Q4K];

    /// GGML's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
        }
    }

    /// Numbers in a block.
    pub(crate) fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K => 256,
        }
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
        }
    }

    fn source(self) -> &'static [&'static str] {
        const HALVES: &str = include_str!("kernels/halves.wgsl");
        match self {
            Self::F32 => &[include_str!("kernels/weights_f32.wgsl")],
            Self::F16 => &[include_str!("kernels/weights_f16.wgsl")],
            Self::Q8_0 => &[HALVES, include_str!("kernels/weights_q8_0.wgsl")],
            Self::Q4_0 => &[HALVES, include_str!("kernels/weights_q4_0.wgsl")],
            Self::Q4K => &[include_str!("kernels/weights_q4_k.wgsl")],
        }
    }
}

impl Matrix {
    /// What the kernel calls elements and matrices.
    fn names(self) -> String {
        let Self { side, half } = self;
        let (enable, element) = match half {
            true => ("enable f16;\n", "f16"),
            false => ("", "f32"),
        };
        format!(
            "{enable}enable wgpu_cooperative_matrix;\n\
             const SIDE = {side}u;\n\
             alias Element = {element};\n\
             alias Left = coop_mat{side}x{side}<{element}, A>;\n\
             alias Right = coop_mat{side}x{side}<{element}, B>;\n\
             alias Sums = coop_mat{side}x{side}<f32, C>;\n"
        )
    }
}

impl Shader {
    /// Bindings that are read; the one behind them is written.
    pub(crate) fn reads(self) -> u32 {
        match self {
            Self::Matvec { .. } | Self::Gemm { .. } | Self::GemmCoop { .. } => 3,
            Self::Norm { .. } | Self::Attention { .. } => 3,
            Self::Rope { .. } | Self::Embed { .. } | Self::Glu => 2,
            Self::Merge | Self::Softmax { .. } | Self::Top | Self::RoofCopy => 1,
            Self::SelfTest | Self::RoofMultiplyAdd | Self::RoofMatrix { .. } => 0,
        }
    }

    /// The whole source.
    pub(crate) fn source(self) -> String {
        const PRODUCT: &str = include_str!("kernels/product_params.wgsl");
        let reduce = |subgroups| match subgroups {
            true => include_str!("kernels/reduce_subgroup.wgsl"),
            false => include_str!("kernels/reduce_tree.wgsl"),
        };
        let mut parts: Vec<Cow<'static, str>> = Vec::new();
        let mut add = |part: &'static str| parts.push(part.into());
        match self {
            Self::Matvec { weights, subgroups } => {
                weights.source().iter().copied().for_each(&mut add);
                add(reduce(subgroups));
                add(include_str!("kernels/matvec.wgsl"));
            }
            Self::Gemm { weights, half } => {
                weights.source().iter().copied().for_each(&mut add);
                add(match half {
                    true => include_str!("kernels/stage_f16.wgsl"),
                    false => include_str!("kernels/stage_f32.wgsl"),
                });
                add(PRODUCT);
                add(include_str!("kernels/gemm.wgsl"));
            }
            Self::GemmCoop { weights, matrix } => {
                weights.source().iter().copied().for_each(&mut add);
                add(PRODUCT);
                add(include_str!("kernels/gemm_coop.wgsl"));
                // Extensions are enabled before anything else.
                parts.insert(0, matrix.names().into());
            }
            Self::Norm { subgroups } => {
                add(reduce(subgroups));
                add(include_str!("kernels/norm.wgsl"));
            }
            Self::Rope { half } => {
                add(match half {
                    true => include_str!("kernels/out_f16.wgsl"),
                    false => include_str!("kernels/out_f32.wgsl"),
                });
                add(include_str!("kernels/rope.wgsl"));
            }
            Self::Attention { half } => {
                add(match half {
                    true => include_str!("kernels/kv_f16.wgsl"),
                    false => include_str!("kernels/kv_f32.wgsl"),
                });
                add(include_str!("kernels/attention.wgsl"));
            }
            Self::Merge => add(include_str!("kernels/merge.wgsl")),
            Self::Embed { weights } => {
                weights.source().iter().copied().for_each(&mut add);
                add(include_str!("kernels/embed.wgsl"));
            }
            Self::Glu => add(include_str!("kernels/glu.wgsl")),
            Self::Softmax { subgroups } => {
                add(reduce(subgroups));
                add(include_str!("kernels/softmax.wgsl"));
            }
            Self::Top => add(include_str!("kernels/top.wgsl")),
            Self::SelfTest => add(include_str!("kernels/self_test.wgsl")),
            Self::RoofMultiplyAdd => add(include_str!("kernels/roof_multiply_add.wgsl")),
            Self::RoofMatrix { matrix } => {
                add(include_str!("kernels/roof_matrix.wgsl"));
                parts.insert(0, matrix.names().into());
            }
            Self::RoofCopy => add(include_str!("kernels/roof_copy.wgsl")),
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use naga::back::msl;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    /// Every kernel that may run.
    fn all() -> Vec<Shader> {
        let mut shaders = vec![
            Shader::Merge,
            Shader::Glu,
            Shader::Top,
            Shader::SelfTest,
            Shader::RoofMultiplyAdd,
            Shader::RoofCopy,
        ];
        for flag in [false, true] {
            shaders.extend([
                Shader::Norm { subgroups: flag },
                Shader::Softmax { subgroups: flag },
                Shader::Rope { half: flag },
                Shader::Attention { half: flag },
            ]);
        }
        for (side, half) in [(8, false), (8, true), (16, false), (16, true)] {
            let matrix = Matrix { side, half };
            shaders.push(Shader::RoofMatrix { matrix });
        }
        for weights in Weights::ALL {
            shaders.push(Shader::Embed { weights });
            for flag in [false, true] {
                shaders.push(Shader::Matvec {
                    weights,
                    subgroups: flag,
                });
                shaders.push(Shader::Gemm {
                    weights,
                    half: flag,
                });
                for side in [8, 16] {
                    let matrix = Matrix { side, half: flag };
                    shaders.push(Shader::GemmCoop { weights, matrix });
                }
            }
        }
        shaders
    }

    /// The module of `shader` with its default constants, validated.
    fn module(shader: Shader) -> (naga::Module, naga::valid::ModuleInfo) {
        let source = shader.source();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{shader:?}: {}", error.emit_to_string(&source)));
        let validate = |module: &naga::Module| {
            Validator::new(ValidationFlags::all(), Capabilities::all())
                .validate(module)
                .unwrap_or_else(|error| panic!("{shader:?}: {}", error.emit_to_string(&source)))
        };
        let info = validate(&module);
        let constants = naga::back::PipelineConstants::default();
        let (module, _) =
            naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
                .unwrap_or_else(|error| panic!("{shader:?}: {error}"));
        let module = module.into_owned();
        let info = validate(&module);
        (module, info)
    }

    /// Metal's source, as wgpu has it made.
    fn metal(shader: Shader) -> String {
        let (module, info) = module(shader);
        let mut resources = msl::BindingMap::default();
        for binding in 0..=shader.reads() {
            let at = naga::ResourceBinding { group: 0, binding };
            let target = msl::BindTarget {
                buffer: Some(binding as u8),
                mutable: binding == shader.reads(),
                ..msl::BindTarget::default()
            };
            resources.insert(at, target);
        }
        let entry = msl::EntryPointResources {
            resources,
            immediates_buffer: Some(29),
            sizes_buffer: Some(30),
        };
        let options = msl::Options {
            lang_version: (3, 0),
            per_entry_point_map: [("main".to_owned(), entry)].into(),
            fake_missing_bindings: false,
            ..msl::Options::default()
        };
        let pipeline = msl::PipelineOptions::default();
        msl::write_string(&module, &info, &options, &pipeline)
            .unwrap_or_else(|error| panic!("{shader:?}: {error}"))
            .0
    }

    #[test]
    fn every_kernel_becomes_metal() {
        for shader in all() {
            let source = metal(shader);
            let has = |word: &str| source.contains(word);
            assert!(has("kernel void main_"), "{shader:?}");
            let subgroups = matches!(
                shader,
                Shader::Matvec {
                    subgroups: true,
                    ..
                } | Shader::Norm { subgroups: true }
                    | Shader::Softmax { subgroups: true }
            );
            assert_eq!(has("simd_sum"), subgroups, "{shader:?}\n{source}");
            let cooperative = matches!(shader, Shader::GemmCoop { .. } | Shader::RoofMatrix { .. });
            assert_eq!(
                has("simdgroup_multiply_accumulate"),
                cooperative,
                "{shader:?}\n{source}"
            );
        }
    }
}
