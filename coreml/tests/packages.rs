//! Packages that coremltools wrote, whole and damaged.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs;
use std::path::{Path, PathBuf};

use engine::conformance::Outcome;
use engine::tolerance::{product_noise, worst_gain};
use engine::{Engine, EngineSpec, ModelArtifact, NumberFormat, Numerics, Want, conformance};
use harness_coreml::{Finding, Interpreter, Package, PackageError, Severity, Summary, check};
use proptest::prelude::*;
use tempfile::TempDir;

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/packages/tiny-{name}.mlpackage"))
}

fn errors(package: &Package) -> Vec<Finding> {
    let findings = check(package).into_iter();
    findings
        .filter(|finding| finding.severity == Severity::Error)
        .collect()
}

#[test]
fn the_seam_is_kept() {
    for name in ["fp16", "multi", "apple", "anemll"] {
        let artifact = ModelArtifact::from_path(&tiny(name)).unwrap();
        for spec in ["coreml-interp", "coreml-interp:precision=f32"] {
            let spec: EngineSpec = spec.parse().unwrap();
            let report = conformance::check(&Interpreter, &artifact, &spec.options).unwrap();
            let outcome = |check: &str| {
                let found = report.checks.iter().find(|c| c.name == check);
                found.map(|c| &c.outcome)
            };
            let mut outcomes = report.checks.iter().map(|check| &check.outcome);
            let broken = outcomes.any(|outcome| matches!(outcome, Outcome::Fail(_)));
            assert!(!broken, "{name} {spec}\n{report}");
            // Only packages with a function `encode` have embeddings.
            let embeds = matches!(outcome("batch_equals_one_by_one"), Some(Outcome::Pass));
            assert_eq!(embeds, name == "multi", "{name}\n{report}");
        }
    }
}

#[test]
fn the_package_has_the_hash_that_its_manifest_tells() {
    for name in ["fp16", "multi", "defect"] {
        let path = tiny(name);
        let beside = fs::read_to_string(format!("{}.json", path.display())).unwrap();
        let beside: serde_json::Value = serde_json::from_str(&beside).unwrap();
        let artifact = ModelArtifact::from_path(&path).unwrap();
        assert_eq!(beside["package"]["sha256"], artifact.sha256.as_str());
        assert_eq!(beside["package"]["size_bytes"], artifact.size_bytes);
    }
}

#[test]
fn sound_packages_pass_and_the_lost_update_is_found() {
    for name in ["fp16", "multi"] {
        let package = Package::open(&tiny(name)).unwrap();
        assert_eq!(errors(&package), [], "{name}");
        assert!(package.vocabulary.is_some());
    }
    let found = errors(&Package::open(&tiny("defect")).unwrap());
    // Two layers' keys and values: every write but the first loses the one before.
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found
            .iter()
            .all(|finding| finding.what.contains("update is lost")),
        "{found:?}"
    );
}

/// It doubles the step of a rounding and so quadruples its noise.
const ONE_BIT: f64 = 4.0;

/// Squared error of the logits over their energy, after NumPy's in f64, for 64
/// positions; and the bound on it. Only the rounding of activations and of the cache
/// is left, since NumPy reads the same f16 weights. `engine::tolerance` tells how
/// much of it each product adds, NumPy has measured how much of that reaches the
/// logits of this network, and one bit more is allowed, as in suite `parity`.
fn error_and_bound(name: &str, precision: &str, piece: usize) -> (f64, f64) {
    let expected = fs::read_to_string(tiny("fp16").with_file_name("logits.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let gain = expected["gain"].as_f64().unwrap();
    let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
    let expected: Vec<Vec<f64>> = serde_json::from_value(expected["logits"].clone()).unwrap();
    let artifact = ModelArtifact::from_path(&tiny(name)).unwrap();
    let spec: EngineSpec = format!("coreml-interp:precision={precision}")
        .parse()
        .unwrap();
    let model = Interpreter.open(&artifact, &spec.options).unwrap();
    let mut session = model.session().unwrap();
    let (mut error, mut energy, mut position) = (0.0, 0.0, 0);
    for piece in tokens.chunks(piece) {
        let logits = session.extend(piece, Want::All).unwrap();
        for row in 0..piece.len() {
            for (&found, &want) in logits.row(row).iter().zip(&expected[position]) {
                error += (f64::from(found) - want).powi(2);
                energy += want.powi(2);
            }
            position += 1;
        }
    }
    assert_eq!(position, 64);
    let rounding = Numerics {
        weights: NumberFormat::F32,
        activations: NumberFormat::F16,
        kv: NumberFormat::F16,
    };
    let config = model.config();
    (
        error / energy,
        ONE_BIT * gain * product_noise(rounding, config),
    )
}

#[test]
fn a_converted_model_computes_what_numpy_does() {
    for precision in ["f32", "fp16"] {
        for piece in [1, 7, 64] {
            let (error, bound) = error_and_bound("fp16", precision, piece);
            println!("{precision}, pieces of {piece}: {error:.2e} of {bound:.2e}");
            assert!(
                error <= bound,
                "{precision}, pieces of {piece}: {error:e} of {bound:e}"
            );
        }
    }
}

#[test]
fn packages_of_other_converters_compute_what_numpy_does() {
    for name in ["apple", "anemll"] {
        for piece in [1, 7, 8, 64] {
            let (error, bound) = error_and_bound(name, "fp16", piece);
            println!("{name}, pieces of {piece}: {error:.2e} of {bound:.2e}");
            assert!(
                error <= bound,
                "{name}, pieces of {piece}: {error:e} of {bound:e}"
            );
        }
        let package = Package::open(&tiny(name)).unwrap();
        assert!(package.config().unwrap().is_none());
        assert_eq!(errors(&package), [], "{name}");
    }
}

#[test]
fn the_shape_of_a_model_is_seen_from_its_tensors() {
    let config = |name: &str| {
        let artifact = ModelArtifact::from_path(&tiny(name)).unwrap();
        let model = Interpreter.open(&artifact, &Default::default()).unwrap();
        (model.config().clone(), model.numerics())
    };
    let (known, numerics) = config("fp16");
    for name in ["apple", "anemll"] {
        let (mut seen, formats) = config(name);
        assert_eq!(seen.architecture, "ml_program");
        seen.architecture = known.architecture.clone();
        // Tables of angles and biases of zero, which coremltools adds, are weights here, and the
        // head may be stored once more than the table that it is tied to.
        let more = seen.parameters - known.parameters;
        let head = (known.vocab * known.hidden) as u64;
        assert!(more <= head + known.parameters / 10, "{more}");
        seen.parameters = known.parameters;
        assert_eq!((seen, formats), (known.clone(), numerics), "{name}");
    }
}

#[test]
fn names_are_for_the_user_to_say() {
    let open = |options: &str| {
        let artifact = ModelArtifact::from_path(&tiny("apple")).unwrap();
        let spec: EngineSpec = format!("coreml-interp:{options}").parse().unwrap();
        Interpreter.open(&artifact, &spec.options)
    };
    let model = open("ids=inputIds,mask=causalMask,logits=logits,context=32,heads=2").unwrap();
    assert_eq!((model.config().context, model.config().heads), (32, 2));
    for (options, word) in [
        ("ids=tokens", "there is inputIds, causalMask"),
        ("logits=scores", "there is logits"),
        ("mask=inputIds", "seem to be for the same (Mask)"),
        ("positions=inputIds", "no input of token ids"),
        ("context=0", "a size from 1"),
        ("idx=inputIds", "idx"),
    ] {
        let error = open(options).err().unwrap();
        assert!(error.to_string().contains(word), "{options}: {error}");
    }
}

#[test]
fn a_lost_update_is_far_beyond_rounding() {
    let (error, bound) = error_and_bound("defect", "fp16", 1);
    assert!(error > 100.0 * bound, "{error:e} of {bound:e}");
}

/// Logits that a NumPy file holds in f32.
fn npy(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (values, _) = bytes[10 + header..].as_chunks();
    values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect()
}

/// Run by `scripts/oracles/core-ml-families`, which converts the models first.
#[test]
#[ignore = "needs packages of the reference engine's tiny models"]
fn families_compute_what_transformers_does() {
    let packages = PathBuf::from(std::env::var("HARNESS_CORE_ML_FAMILIES").unwrap());
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/tests/vectors/models");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut entries: Vec<_> = fs::read_dir(packages)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for package in entries
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "mlpackage"))
    {
        let name = package.file_stem().unwrap().to_str().unwrap();
        let tokens = fs::read_to_string(models.join(name).join("tokens.txt")).unwrap();
        let tokens: Vec<u32> = tokens
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        let expected = npy(&models.join(name).join("logits.npy"));
        let artifact = ModelArtifact::from_path(package).unwrap();
        let model = Interpreter.open(&artifact, &Default::default()).unwrap();
        let mut session = model.session().unwrap();
        // In pieces, so that caches count.
        let (mut error, mut energy) = (0.0, 0.0);
        let mut rest = &expected[..];
        for piece in tokens.chunks(5) {
            let logits = session.extend(piece, Want::All).unwrap();
            let (want, behind) = rest.split_at(logits.values().len());
            rest = behind;
            for (&found, &want) in logits.values().iter().zip(want) {
                error += f64::from(found - want).powi(2);
                energy += f64::from(want).powi(2);
            }
        }
        let bound =
            ONE_BIT * worst_gain(model.config()) * product_noise(model.numerics(), model.config());
        println!("{name:20} {:9.2e} of {bound:.2e}", error / energy);
        count += 1;
        if error / energy > bound {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(count >= 10);
}

#[test]
fn the_summary_counts_every_weight_once() {
    let summary = Summary::new(&Package::open(&tiny("multi")).unwrap());
    let names: Vec<&str> = summary.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let palette = summary
        .weights
        .iter()
        .find(|w| w.scheme == "palette of uint4")
        .unwrap();
    // Two layers of seven matrices. The embedding has 259 rows, no whole groups.
    assert_eq!(palette.tensors, 14);
    assert_eq!(
        palette.weights,
        2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    );
    assert_eq!(
        summary.functions.iter().map(|f| f.state_bytes).max(),
        Some(4 * 2 * 64 * 8 * 2)
    );
}

/// A copy of a package to be damaged.
fn copy(name: &str) -> (TempDir, PathBuf) {
    fn copy_all(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap().path();
            let target = to.join(entry.file_name().unwrap());
            match entry.is_dir() {
                true => copy_all(&entry, &target),
                false => drop(fs::copy(&entry, &target).unwrap()),
            }
        }
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copy.mlpackage");
    copy_all(&tiny(name), &path);
    (folder, path)
}

const SPECIFICATION: &str = "Data/com.apple.CoreML/model.mlmodel";
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

fn why_not(path: &Path) -> String {
    match Package::open(path) {
        Err(error) => error.to_string(),
        Ok(package) => match errors(&package).first() {
            Some(finding) => finding.to_string(),
            None => "nothing".into(),
        },
    }
}

#[test]
fn damage_is_told_by_what_and_where() {
    let damaged = |file: &str, damage: &dyn Fn(&mut Vec<u8>), word: &str| {
        let (_folder, path) = copy("fp16");
        let mut bytes = fs::read(path.join(file)).unwrap();
        damage(&mut bytes);
        fs::write(path.join(file), bytes).unwrap();
        let why = why_not(&path);
        assert!(why.contains(word), "{why}");
    };
    damaged(
        WEIGHTS,
        &|bytes| bytes.truncate(bytes.len() / 2),
        "past the end",
    );
    damaged(WEIGHTS, &|bytes| bytes[64] = 0, "no blob begins here");
    damaged(
        WEIGHTS,
        &|bytes| bytes[68] = 2,
        "holds float32, not float16",
    );
    damaged(
        WEIGHTS,
        &|bytes| bytes[64 + 16..][..8].fill(0xff),
        "past the end",
    );
    damaged(
        SPECIFICATION,
        &|bytes| bytes.truncate(bytes.len() / 2),
        "specification",
    );
    damaged(SPECIFICATION, &|bytes| bytes.clear(), "holds no model");
    damaged(
        "Manifest.json",
        &|bytes| bytes.truncate(40),
        "Manifest.json",
    );
    let rename = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            let text = String::from_utf8(bytes.clone()).unwrap().replace(from, to);
            *bytes = text.into_bytes();
        }
    };
    damaged(
        "Manifest.json",
        &rename("com.apple.CoreML/model", "../../../model"),
        "out of the package",
    );
    damaged(
        "Manifest.json",
        &rename(
            "\"rootModelIdentifier\": \"",
            "\"rootModelIdentifier\": \"x",
        ),
        "root model",
    );
    // The value that the first norm reads gets a name that nothing makes, of the same length.
    damaged(
        SPECIFICATION,
        &|bytes| {
            let name = b"embedding_cast";
            let at = bytes
                .windows(name.len())
                .position(|window| window == name)
                .unwrap();
            bytes[at] = b'X';
        },
        "which",
    );
}

#[test]
fn a_nesting_bomb_is_refused() {
    // Field 202 (a pipeline) that holds a list of models, each with another inside.
    let mut bytes = Vec::new();
    for _ in 0..3000 {
        let mut wrapped = vec![0x0a];
        let mut length = bytes.len();
        while length > 127 {
            wrapped.push((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        wrapped.push(length as u8);
        wrapped.extend(&bytes);
        bytes = wrapped;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bomb.mlmodel");
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        Package::open(&path),
        Err(PackageError::Specification(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever byte of the specification changes, the package is refused, or it is
    /// checked to the end.
    #[test]
    fn changed_bytes_never_panic(at in 0usize..1 << 20, value in any::<u8>()) {
        let mut bytes = fs::read(tiny("fp16").join(SPECIFICATION)).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(specification) = harness_coreml::Specification::decode(&bytes) {
            let whole = Package::open(&tiny("fp16")).unwrap();
            let package = Package { specification, ..whole };
            let _ = check(&package);
            let _ = Summary::new(&package);
        }
    }
}
