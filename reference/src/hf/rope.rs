//! RoPE scaling, as GGUF tells of it: keys for what is one number, tensors for
//! what differs from frequency to frequency.

use std::f32::consts::PI;

use super::HfError;
use super::config::Rope;
use crate::gguf::Metadata;

const DEFAULT_BASE: f64 = 10_000.0;

/// A tensor that no file holds.
pub(super) type Made = (&'static str, Vec<f32>);

/// Divisors of the frequencies under Llama 3's scaling, which leaves high
/// frequencies as they are, divides low ones by `factor`, and blends between.
/// `head_dim` is even.
///
/// In f32 throughout and by reciprocals, the way torch evaluates llama.cpp's
/// converter, so that even the last bits are the same.
pub(super) fn llama3(rope: &Rope, head_dim: u32) -> Result<Made, HfError> {
    let number = |name: &str, given: Option<f64>, default: f64| match given.unwrap_or(default) {
        x if x.is_finite() && x > 0.0 => Ok(x as f32),
        x => Err(HfError::Config(format!("RoPE's {name} is {x}"))),
    };
    let base = number("rope_theta", rope.rope_theta, DEFAULT_BASE)?;
    let factor = number("factor", rope.factor, 8.0)?;
    let low = number("low_freq_factor", rope.low_freq_factor, 1.0)?;
    let high = number("high_freq_factor", rope.high_freq_factor, 4.0)?;
    if high <= low {
        return Err(HfError::Config(format!(
            "RoPE's high_freq_factor is {high}, not above its low_freq_factor, {low}"
        )));
    }
    let context = rope.original_max_position_embeddings.unwrap_or(8192) as f32;
    let divisor = |pair: u32| {
        let exponent = (2 * pair) as f32 / head_dim as f32;
        let frequency = base.powf(exponent).recip();
        let wavelength = 2.0 * PI * frequency.recip();
        if wavelength < context / high {
            return 1.0;
        }
        if wavelength > context / low {
            return factor;
        }
        let smooth = (wavelength.recip() * context - low) / (high - low);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    let divisors = (0..head_dim / 2).map(divisor).collect();
    Ok(("rope_freqs.weight", divisors))
}

/// Phi-3's long context: two lists of divisors, and a factor on the attention
/// that grows with the stretch (LongRoPE, Ding et al. 2024, equation 8 as
/// transformers and llama.cpp compute it).
pub(super) fn longrope(
    rope: &Rope,
    context: u32,
    original: u32,
    dims: u32,
    metadata: &mut Metadata,
) -> Result<[Made; 2], HfError> {
    let list = |name: &str, list: &Option<Vec<f64>>| {
        let list = list.as_deref().unwrap_or_default();
        let positive = list.iter().all(|x| x.is_finite() && *x > 0.0);
        if list.len() as u64 != u64::from(dims / 2) || !positive {
            return Err(HfError::Config(format!(
                "RoPE's {name} should hold {} positive numbers but holds {}",
                dims / 2,
                list.len()
            )));
        }
        Ok(list.iter().map(|&x| x as f32).collect())
    };
    let stretch = f64::from(context) / f64::from(original);
    let factor = match rope.attention_factor {
        Some(given) => given,
        None if stretch > 1.0 => (1.0 + stretch.ln() / f64::from(original).ln()).sqrt(),
        None => 1.0,
    };
    if !(factor.is_finite() && factor > 0.0) {
        return Err(HfError::Config(format!(
            "RoPE's attention factor is {factor}"
        )));
    }
    metadata.set("phi3.rope.scaling.attn_factor", factor as f32);
    Ok([
        (
            "rope_factors_long.weight",
            list("long_factor", &rope.long_factor)?,
        ),
        (
            "rope_factors_short.weight",
            list("short_factor", &rope.short_factor)?,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(text: &str) -> Rope {
        serde_json::from_str(text).unwrap()
    }

    /// As `LlamaModel.generate_extra_tensors` of llama.cpp's converter has it, in torch.
    #[test]
    fn llama3_scales_as_the_converter_does() {
        let rope = rope(
            r#"{"rope_type": "llama3", "rope_theta": 500000, "factor": 32, "low_freq_factor": 1,
                "high_freq_factor": 4, "original_max_position_embeddings": 8192}"#,
        );
        let (name, divisors) = llama3(&rope, 24).unwrap();
        assert_eq!(name, "rope_freqs.weight");
        assert_eq!(divisors[..6], [1.0; 6]);
        assert_eq!(divisors[7..], [32.0; 5]);
        // Between the two every operation of the formula rounds, and other libraries
        // may round the power otherwise. With r = context / wavelength, the divisor is
        // d = f / (1 + (f − 1) (r − 1) / 3); an error of k · 2⁻²⁴ in r, and k < 16 with
        // two ulp from each library's power, moves it by (f − 1) r d / (3 f) times that,
        // which is below 4 here, and so d by less than 64 · 2⁻²⁴.
        let error = f64::from(divisors[6]) / 3.2922627925872803 - 1.0;
        assert!(error.abs() < 64.0 / f64::from(1 << 24), "{error}");
    }

    /// Phi-3-mini-128k: √(1 + ln(131072 / 4096) / ln 4096).
    #[test]
    fn longropes_attention_grows_with_the_stretch() {
        let rope = rope(r#"{"type": "longrope", "long_factor": [2], "short_factor": [1]}"#);
        let mut metadata = Metadata::new();
        let [long, short] = longrope(&rope, 131_072, 4096, 2, &mut metadata).unwrap();
        assert_eq!(long, ("rope_factors_long.weight", vec![2.0]));
        assert_eq!(short, ("rope_factors_short.weight", vec![1.0]));
        let factor = metadata.get::<f32>("phi3.rope.scaling.attn_factor");
        assert_eq!(factor, Ok(1.190_238_1));
        assert!(longrope(&rope, 131_072, 4096, 4, &mut metadata).is_err());
    }
}
