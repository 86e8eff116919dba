//! Finds the change points of series: one JSON array of numbers a line on standard input, one
//! JSON object a line on standard output. `scripts/oracles/change_points.py` runs it beside
//! ruptures and otava.

use std::io::{BufRead, stdin};

use harness_stats::{ChangePointOptions, PermutationOptions, e_divisive, pelt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let series: Vec<f64> = serde_json::from_str(&line?)?;
        let options = ChangePointOptions::default();
        let blocks = ChangePointOptions {
            test: PermutationOptions {
                block: (series.len() / 20).clamp(1, 10),
                ..options.test
            },
            ..options
        };
        let found = serde_json::json!({
            "e_divisive": e_divisive(&series, options)?,
            "e_divisive, blocks": e_divisive(&series, blocks)?,
            "pelt": pelt(&series, options)?,
        });
        println!("{found}");
    }
    Ok(())
}
