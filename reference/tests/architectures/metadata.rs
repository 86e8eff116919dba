//! What metadata that files leave out, or spell otherwise, stands for: as
//! llama.cpp's loader has it (`llama_model_base::load_hparams` and
//! `src/models/*.cpp`).

use std::fs;

use engine::{Engine, EngineError, EngineOptions, FailureKind, Logits, ModelArtifact, Want};
use harness_reference::Reference;
use harness_reference::gguf::{Array, GgmlType, GgufFile, Metadata, Value, Writer};

use crate::tiny::{TinyModel, models};

fn model(name: &str) -> TinyModel {
    models()
        .into_iter()
        .find(|model| model.name == name)
        .unwrap()
}

/// Logits of `model` once keys are set (or removed: `None`) in its metadata.
fn edited(model: &TinyModel, edits: &[(&str, Option<Value>)]) -> Result<Logits, EngineError> {
    rewritten(model, edits, None)
}

/// As [`edited`], with one more tensor, the number 2.
fn rewritten(
    model: &TinyModel,
    edits: &[(&str, Option<Value>)],
    tensor: Option<&str>,
) -> Result<Logits, EngineError> {
    let file = GgufFile::open(&model.artifact()).unwrap();
    let mut metadata = Metadata::new();
    for (key, value) in file.metadata().iter() {
        if !edits.iter().any(|(edited, _)| *edited == key) {
            metadata.set(key, value.clone());
        }
    }
    for (key, value) in edits {
        if let Some(value) = value {
            metadata.set(*key, value.clone());
        }
    }
    let mut writer = Writer::new(&metadata);
    for tensor in file.tensors() {
        writer
            .declare(&tensor.name, &tensor.dims, tensor.ggml_type)
            .unwrap();
    }
    if let Some(name) = tensor {
        writer.declare(name, &[1], GgmlType::F32).unwrap();
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    for tensor in file.tensors() {
        body.tensor(file.data(tensor)).unwrap();
    }
    if tensor.is_some() {
        body.tensor(&2f32.to_le_bytes()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edited.gguf");
    fs::write(&path, body.finish().unwrap()).unwrap();
    let artifact = ModelArtifact::from_path(&path).unwrap();
    let opened = Reference.open(&artifact, &EngineOptions::default())?;
    opened.session()?.extend(&model.tokens, Want::All)
}

/// Every one of `edits` leaves the logits of `name` as they are.
fn same(name: &str, edits: &[&[(&str, Option<Value>)]]) {
    let model = model(name);
    let expected = edited(&model, &[]).unwrap();
    for edit in edits {
        assert_eq!(edited(&model, edit).unwrap(), expected, "{name}: {edit:?}");
    }
}

/// Two edits of `name` are the same, and other than none.
fn equivalent(name: &str, one: &[(&str, Option<Value>)], other: &[(&str, Option<Value>)]) {
    let model = model(name);
    let found = edited(&model, one).unwrap();
    assert_eq!(found, edited(&model, other).unwrap(), "{name}: {one:?}");
    assert_ne!(found, edited(&model, &[]).unwrap(), "{name}: {one:?}");
}

fn refused(name: &str, edit: &[(&str, Option<Value>)], kind: FailureKind, why: &str) {
    let error = edited(&model(name), edit).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

fn float(value: f32) -> Option<Value> {
    Some(Value::F32(value))
}

fn int(value: u32) -> Option<Value> {
    Some(Value::U32(value))
}

#[test]
fn rope_is_scaled_linearly_unless_said_otherwise() {
    let (kind, factor) = ("llama.rope.scaling.type", "llama.rope.scaling.factor");
    same(
        "llama-rope-linear",
        &[
            &[(kind, None)],
            &[(factor, None), ("llama.rope.scale_linear", float(4.0))],
        ],
    );
    same(
        "llama",
        &[
            &[(factor, float(0.0))],
            &[(kind, Some("none".into())), (factor, float(4.0))],
            &[(kind, Some("linear".into()))],
        ],
    );
    equivalent(
        "llama",
        &[(factor, float(4.0))],
        &[(kind, Some("linear".into())), (factor, float(4.0))],
    );
    let yarn = &[(kind, Some("yarn".into())), (factor, float(4.0))];
    refused(
        "llama",
        yarn,
        FailureKind::Unsupported,
        "RoPE scaling `yarn`",
    );
}

#[test]
fn sizes_have_defaults() {
    same(
        "llama",
        &[
            &[("llama.rope.dimension_count", None)],
            &[("llama.rope.freq_base", None)],
            &[("llama.rope.scaling.attn_factor", float(1.0))],
        ],
    );
    same("phi2", &[&[("phi2.attention.head_count_kv", None)]]);
    same(
        "llama-tied",
        &[&[
            ("llama.attention.key_length", None),
            ("llama.attention.value_length", None),
        ]],
    );
    // The default is `embedding_length / head_count`, which this model's is not.
    let value_length = &[("llama.attention.value_length", None)];
    refused(
        "llama",
        value_length,
        FailureKind::Unsupported,
        "values of 8",
    );
}

#[test]
fn epsilon_has_none() {
    for (name, key) in [
        ("llama", "llama.attention.layer_norm_rms_epsilon"),
        ("gpt2", "gpt2.attention.layer_norm_epsilon"),
    ] {
        refused(name, &[(key, None)], FailureKind::Load, key);
    }
}

#[test]
fn gemma2_has_defaults() {
    for (key, default) in [
        ("gemma2.attn_logit_softcapping", float(50.0)),
        ("gemma2.final_logit_softcapping", float(30.0)),
        // Further than these tokens reach.
        ("gemma2.attention.sliding_window", int(4096)),
        // Of heads of 16.
        ("gemma2.attention.scale", float(0.25)),
    ] {
        equivalent("gemma2", &[(key, None)], &[(key, default)]);
    }
    let pattern = "gemma2.attention.sliding_window_pattern";
    same("gemma2", &[&[(pattern, int(2))]]);
    let no_cap = &[("gemma2.attn_logit_softcapping", float(0.0))];
    refused("gemma2", no_cap, FailureKind::Load, "soft caps");
}

#[test]
fn gemma3_has_defaults() {
    let (window, base) = (
        "gemma3.attention.sliding_window",
        "gemma3.rope.freq_base_swa",
    );
    let pattern = "gemma3.attention.sliding_window_pattern";
    let every_sixth = [true, true, true, true, true, false, true];
    same(
        "gemma3",
        &[
            &[("gemma3.final_logit_softcapping", float(0.0))],
            &[(pattern, int(6))],
            &[(pattern, Some(Value::Array(Array::Bool(every_sixth.into()))))],
            &[("gemma3.attention.scale", float(0.25))],
        ],
    );
    equivalent("gemma3", &[(base, None)], &[(base, float(10_000.0))]);
    // Without a window no layer is local, and all turn by the global base.
    equivalent("gemma3", &[(window, None)], &[(window, int(0))]);
    equivalent("gemma3", &[(window, None)], &[(pattern, int(1))]);
}

#[test]
fn other_networks_of_the_same_name_are_refused() {
    let experts = &[("llama.expert_count", int(8))];
    refused(
        "llama",
        experts,
        FailureKind::Unsupported,
        "mixtures of experts",
    );
    same("llama", &[&[("llama.expert_count", int(0))]]);
    let bidirectional = &[("qwen2.attention.causal", Some(Value::Bool(false)))];
    refused(
        "qwen2",
        bidirectional,
        FailureKind::Unsupported,
        "later tokens",
    );
}

#[test]
fn scaled_matrices_are_refused() {
    for (name, scale) in [
        ("llama", "blk.1.ffn_up.scale"),
        ("phi3", "blk.0.attn_qkv.scale"),
    ] {
        let error = rewritten(&model(name), &[], Some(scale)).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Unsupported, "{error}");
        assert!(error.to_string().contains(scale), "{error}");
    }
}
