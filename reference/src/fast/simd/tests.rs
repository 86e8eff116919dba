//! Operations against scalars, `exp` and `tanh` against f64, on every
//! instruction set of the machine.

// `Isa::available` vouches for the instructions; arrays are of 32 floats.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::*;

/// Calls `$function::<S>` for every instruction set of this processor.
macro_rules! on_each {
    ($function:ident) => {
        for isa in Isa::available() {
            match isa {
                // Its vectors are those of AVX-512.
                #[cfg(target_arch = "x86_64")]
                Isa::Amx => {}
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => $function::<Avx512>(isa),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => $function::<Avx2>(isa),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => $function::<Neon>(isa),
                Isa::Portable => $function::<Portable>(isa),
            }
        }
    };
}

type Floats = [f32; LANES];

fn unary<S: Simd>(f: unsafe fn(S::V) -> S::V, x: &Floats) -> Floats {
    let mut out = [0.0; LANES];
    unsafe { S::store(out.as_mut_ptr(), f(S::load(x.as_ptr()))) };
    out
}

fn binary<S: Simd>(f: unsafe fn(S::V, S::V) -> S::V, a: f32, b: f32) -> f32 {
    let mut out = [0.0; LANES];
    unsafe { S::store(out.as_mut_ptr(), f(S::splat(a), S::splat(b))) };
    assert!(out.iter().all(|x| x.to_bits() == out[0].to_bits()));
    out[0]
}

/// Floats `low..high`, both positive, about `count` of them evenly over their
/// bit patterns, hence densest where floats are; each with either sign.
fn sweep(low: f32, high: f32, count: u32) -> impl Iterator<Item = Floats> {
    let (low, high) = (low.to_bits(), high.to_bits());
    let step = ((high - low) / count).max(1) | 1;
    (low..high)
        .step_by(step as usize * LANES / 2)
        .map(move |first| {
            std::array::from_fn(|lane| {
                let bits = (first + step * (lane / 2) as u32).min(high);
                f32::from_bits(bits) * if lane % 2 == 0 { 1.0 } else { -1.0 }
            })
        })
}

/// One unit in the last place of the normal float next to `x`.
fn ulp(x: f64) -> f64 {
    2f64.powi(x.abs().log2().floor() as i32 - 23)
}

#[test]
fn exp_is_within_two_units() {
    fn check<S: Simd>(isa: Isa) {
        let mut worst = (0.0, 0.0);
        for x in sweep(1e-10, 88.37, 2_000_000) {
            for (x, y) in x.into_iter().zip(unary::<S>(exp::<S>, &x)) {
                if x <= -87.3 {
                    assert_eq!(y, 0.0, "{isa:?}: e^{x}");
                    continue;
                }
                let exact = f64::from(x).exp();
                let error = (f64::from(y) - exact).abs() / ulp(exact);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        println!("{isa:?}: exp is {:.3} units off at {}", worst.0, worst.1);
        assert!(worst.0 <= 2.0, "{isa:?}: {worst:?}");
    }
    on_each!(check);
}

#[test]
fn tanh_is_within_its_absolute_error() {
    fn check<S: Simd>(isa: Isa) {
        let mut worst = (0.0, 0.0);
        for x in sweep(1e-10, 100.0, 2_000_000) {
            for (x, y) in x.into_iter().zip(unary::<S>(tanh::<S>, &x)) {
                let error = (f64::from(y) - f64::from(x).tanh()).abs();
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        let units = worst.0 * 2f64.powi(22);
        println!("{isa:?}: tanh is {units:.3} · 2⁻²² off at {}", worst.1);
        assert!(units <= 1.0, "{isa:?}: {worst:?}");
    }
    on_each!(check);
}

#[test]
fn what_is_not_finite_goes_through() {
    fn check<S: Simd>(isa: Isa) {
        const INFINITY: f32 = f32::INFINITY;
        let cases = [
            (f32::NAN, f32::NAN, f32::NAN),
            (INFINITY, INFINITY, 1.0),
            (-INFINITY, 0.0, -1.0),
            (f32::MAX, INFINITY, 1.0),
            (88.73, INFINITY, 1.0),
            (f32::MIN, 0.0, -1.0),
            (-1e30, 0.0, -1.0),
            (0.0, 1.0, 0.0),
            (-0.0, 1.0, 0.0),
        ];
        for (x, exponential, tangent) in cases {
            for (name, f, expected) in [
                ("exp", exp::<S> as unsafe fn(S::V) -> S::V, exponential),
                ("tanh", tanh::<S>, tangent),
            ] {
                let y = unary::<S>(f, &[x; LANES])[0];
                let same = y == expected || (y.is_nan() && expected.is_nan());
                assert!(same, "{isa:?}: {name}({x}) is {y}, not {expected}");
            }
        }
        for f in [S::max as unsafe fn(S::V, S::V) -> S::V, S::min] {
            assert!(binary::<S>(f, 1.0, f32::NAN).is_nan(), "{isa:?}");
        }
    }
    on_each!(check);
}

#[test]
fn operations_are_those_of_scalars() {
    fn check<S: Simd>(isa: Isa) {
        // Quarters: halves are ties, and all sums and products are exact.
        let a: Floats = std::array::from_fn(|lane| (lane as f32 - 15.5) / 4.0 - 0.125);
        let b: Floats = std::array::from_fn(|lane| ((lane * 7 % LANES) as f32 - 16.0) / 4.0);
        let store = |v: S::V| {
            let mut out = [0f32; LANES];
            unsafe { S::store(out.as_mut_ptr(), v) };
            out
        };
        let each = |f: &dyn Fn(f32, f32) -> f32| std::array::from_fn(|lane| f(a[lane], b[lane]));
        unsafe {
            let (va, vb) = (S::load(a.as_ptr()), S::load(b.as_ptr()));
            let cases: [(&str, S::V, Floats); 11] = [
                ("add", S::add(va, vb), each(&|a, b| a + b)),
                ("sub", S::sub(va, vb), each(&|a, b| a - b)),
                ("mul", S::mul(va, vb), each(&|a, b| a * b)),
                ("div", S::div(va, S::splat(3.0)), each(&|a, _| a / 3.0)),
                ("sqrt", S::sqrt(S::mul(vb, vb)), each(&|_, b| b.abs())),
                ("max", S::max(va, vb), each(&f32::max)),
                ("min", S::min(va, vb), each(&f32::min)),
                ("fma", S::fma(va, vb, va), each(&|a, b| a * b + a)),
                ("round", S::round(vb), each(&|_, b| b.round_ties_even())),
                (
                    "where_le",
                    S::where_le(va, vb, S::splat(1.0), S::splat(2.0)),
                    each(&|a, b| if a <= b { 1.0 } else { 2.0 }),
                ),
                (
                    "scale",
                    S::scale(va, S::round(vb)),
                    each(&|a, b| a * b.round_ties_even().exp2()),
                ),
            ];
            for (name, v, expected) in cases {
                assert_eq!(store(v), expected, "{isa:?}: {name}");
            }
            let dot: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let total: f32 = a.iter().sum();
            assert_eq!(S::sum(va), total, "{isa:?}: sum");
            assert_eq!(S::largest(vb), 3.75, "{isa:?}: largest");
            let sum = S::add_products(va, vb, S::zero_sum());
            assert_eq!(S::total(sum), dot, "{isa:?}: add_products");
            let sum = S::add_scaled_products(va, vb, 2.0, sum);
            assert_eq!(S::total(sum), 3.0 * dot, "{isa:?}: add_scaled_products");
            let sum = S::add_scaled(va, -4.0, sum);
            assert_eq!(
                S::total(sum),
                3.0 * dot - 4.0 * total,
                "{isa:?}: add_scaled"
            );
            let halves = store(S::splat_halves(1.0, 2.0));
            assert_eq!(halves, std::array::from_fn(|lane| 1.0 + (lane / 16) as f32));
            let bits = 0xA5F0_13C6u32;
            let added = store(S::add_where(bits, va, 16.0));
            let expected: Floats =
                std::array::from_fn(|lane| a[lane] + 16.0 * (bits >> lane & 1) as f32);
            assert_eq!(added, expected, "{isa:?}: add_where");
        }
    }
    on_each!(check);
}

#[test]
fn every_half_is_read_exactly() {
    fn check<S: Simd>(isa: Isa) {
        for first in (0..=u16::MAX).step_by(LANES) {
            let bits: [u16; LANES] = std::array::from_fn(|lane| first + lane as u16);
            let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let mut read = [[0f32; LANES]; 2];
            unsafe {
                S::store(read[0].as_mut_ptr(), S::load_f16(bytes.as_ptr()));
                S::store(read[1].as_mut_ptr(), S::load_bf16(bytes.as_ptr()));
            }
            for (lane, &bits) in bits.iter().enumerate() {
                let f16 = half::f16::from_bits(bits).to_f32();
                let bf16 = half::bf16::from_bits(bits).to_f32();
                let one = unsafe { S::f16(bits) };
                for (got, expected) in [(read[0][lane], f16), (one, f16), (read[1][lane], bf16)] {
                    let same = got.to_bits() == expected.to_bits();
                    assert!(
                        same || got.is_nan() && expected.is_nan(),
                        "{isa:?}: {bits:#x}"
                    );
                }
            }
        }
    }
    on_each!(check);
}
