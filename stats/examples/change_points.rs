//! Finds the change points of series: one JSON array of numbers a line on standard input, one
//! JSON object a line on standard output. `scripts/oracles/change_points.py` runs it beside
//! ruptures and otava.

use std::io::{BufRead, stdin};

use harness_stats::{ChangePointOptions, PermutationOptions, e_divisive, pelt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let series: Vec<f64> = serde_json::from_str(&line?)?;
        let options = ChangePointOptions::default();
        let test = options.test;
        let with = |test: PermutationOptions| ChangePointOptions { test, ..options };
        let at = |alpha| with(PermutationOptions { alpha, ..test });
        let block = (series.len() / 20).clamp(1, 10);
        let blocks = with(PermutationOptions { block, ..test });
        let found = serde_json::json!({
            "E-divisive": e_divisive(&series, options)?,
            "E-divisive, blocks": e_divisive(&series, blocks)?,
            "PELT": pelt(&series, options)?,
            "PELT, α = 0.01": pelt(&series, at(0.01))?,
            "PELT, α = 0.001": pelt(&series, at(0.001))?,
            "PELT, α = 0.2": pelt(&series, at(0.2))?,
        });
        println!("{found}");
    }
    Ok(())
}
