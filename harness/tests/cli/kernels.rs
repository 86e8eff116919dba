//! Suite `kernels` through the real binary, and what a report makes of it.

use std::fs;

use tempfile::TempDir;

use crate::support::{ends, metric, prints, record, text};

const RUN: [&str; 5] = ["run", "--suite", "kernels", "--quick", "--engine"];

#[test]
fn a_kernel_outside_of_its_bound_fails_by_name() {
    let folder = TempDir::new().unwrap();
    let gate = "kernels.rope.error_over_bound <= 1e-9";
    let more = ["reference", "--gate", gate, "--out", "strict"];
    let output = ends(folder.path(), &[&RUN[..], &more].concat(), 1);
    let table = text(&output.stdout);
    assert!(
        table.contains("FAIL  reference  kernels.rope.error_over_bound"),
        "{table}"
    );

    let cell = &record(folder.path(), "strict")["cells"][0];
    let metrics = cell["metrics"].as_array().unwrap();
    let failed = metrics.iter().filter(|metric| metric["verdict"] == "fail");
    assert_eq!(failed.count(), 1);
    for name in ["product.q4_k", "attention.f16", "rms_norm", "swiglu"] {
        let name = format!("kernels.{name}.error_over_bound");
        let error = metric(cell, &name)["value"].as_f64().unwrap();
        // A kernel that rounds nothing does nothing.
        assert!(error > 0.0 && error <= 1.0, "{name}: {error}");
    }
}

#[test]
fn speeds_are_drawn_under_their_roof() {
    let folder = TempDir::new().unwrap();
    let few = ["--set", "kernels.repeats=2"];
    let more = ["reference", "--out", "timed"];
    ends(folder.path(), &[&RUN[..], &more, &few].concat(), 0);
    let cell = &record(folder.path(), "timed")["cells"][0];
    for (name, unit) in [
        ("matvec.q8_0.gflop_per_s", "GFLOP/s"),
        ("gemm.f32.gb_per_s", "GB/s"),
        ("stream.gb_per_s", "GB/s"),
    ] {
        let speed = metric(cell, &format!("kernels.{name}"));
        assert!(speed["value"].as_f64().unwrap() > 0.0, "{speed}");
        assert_eq!(speed["unit"], unit);
    }
    // The reference has no roofs: all are held against the fastest of them.
    let metrics = cell["metrics"].as_array().unwrap();
    for rate in ["gflop_per_s_share", "gb_per_s_share"] {
        let shares: Vec<f64> = (metrics.iter())
            .filter(|metric| metric["name"].as_str().unwrap().ends_with(rate))
            .map(|share| share["value"].as_f64().unwrap())
            .collect();
        let most = shares.iter().copied().fold(0.0, f64::max);
        assert!(
            shares.len() > 10 && (most - 100.0).abs() < 1e-9,
            "{rate}: {shares:?}"
        );
    }
    prints(
        folder.path(),
        &["report", "--runs", "timed", "--out", "site"],
    );
    let page = fs::read_to_string(folder.path().join("site/speed.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("matvec"), "{page}");
}
