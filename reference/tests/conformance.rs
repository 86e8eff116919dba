//! The reference engine keeps the promises of the seam, on the real fixture.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::conformance::{self, Outcome};
use engine::{
    Engine, EngineError, EngineInfo, EngineOptions, EngineSpec, KvUsage, Logits, Model,
    ModelArtifact, ModelConfig, Numerics, Session, Tap, TapObserver, TapPoint, TokenId, Want,
};
use harness_reference::Reference;

#[test]
fn every_option_conforms() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    for spec in [
        "reference",
        "reference:weights=q4_0,kv=f16",
        "reference:activations=f16,weights=f16",
        "reference:activations=bf16,threads=1,ctx=64",
        "reference:kernels=portable,weights=q8_0,kv=q8_0",
        "reference:kernels=plain,kv=f16",
    ] {
        let spec: EngineSpec = spec.parse().unwrap();
        let report = conformance::check(&Reference, &model, &spec.options).unwrap();
        assert!(report.passed(), "{spec}\n{report}");
    }
}

#[test]
fn threads_change_no_bit() {
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let logits = |threads: usize| {
        let spec: EngineSpec = format!("reference:threads={threads},weights=q4_k")
            .parse()
            .unwrap();
        let model = Reference.open(&artifact, &spec.options).unwrap();
        let mut session = model.session().unwrap();
        let prompt: Vec<u32> = (0..77).map(|i| i * 31 % 1000).collect();
        let mut values = session
            .extend(&prompt, Want::All)
            .unwrap()
            .values()
            .to_vec();
        values.extend(session.extend(&[5], Want::Last).unwrap().values());
        values
    };
    let alone = logits(1);
    for threads in [2, 3, 5] {
        let together = logits(threads);
        assert!(
            alone
                .iter()
                .zip(&together)
                .all(|(a, b)| a.to_bits() == b.to_bits()),
            "{threads}"
        );
    }
}

/// What an engine could get wrong about its taps.
#[derive(Clone, Copy, Debug)]
enum Tampering {
    NothingHandedOver,
    WrongWidth,
    WrongPosition,
    ScaledStream,
    OtherLogits,
}

/// The reference engine with tampered taps.
struct Tampered(Tampering);
struct TamperedModel(Tampering, Box<dyn Model>);
struct TamperedSession<'a>(Tampering, Box<dyn Session + 'a>);

impl Engine for Tampered {
    fn describe(&self) -> EngineInfo {
        Reference.describe()
    }
    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let model = Reference.open(model, options)?;
        Ok(Box::new(TamperedModel(self.0, model)))
    }
}

impl Model for TamperedModel {
    fn config(&self) -> &ModelConfig {
        self.1.config()
    }
    fn numerics(&self) -> Numerics {
        self.1.numerics()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(TamperedSession(self.0, self.1.session()?)))
    }
}

impl Session for TamperedSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.1.extend(tokens, want)
    }
    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        let tampering = self.0;
        let logits = self.1.extend_tapped(tokens, &mut |tap| {
            let scaled: Vec<f32> = tap.values.iter().map(|x| x * 1.001).collect();
            let stream = tap.stage.point == TapPoint::AttentionResidual;
            match tampering {
                Tampering::NothingHandedOver => {}
                Tampering::WrongWidth => observer(Tap { width: 1, ..tap }),
                Tampering::WrongPosition => observer(Tap { position: 0, ..tap }),
                Tampering::ScaledStream if stream => observer(Tap {
                    values: &scaled,
                    ..tap
                }),
                Tampering::ScaledStream | Tampering::OtherLogits => observer(tap),
            }
        })?;
        let mut values = logits.values().to_vec();
        if matches!(tampering, Tampering::OtherLogits) {
            values[0] += 1.0;
        }
        Ok(Logits::new(logits.vocab(), values).unwrap())
    }
    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.1.truncate(len)
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn kv(&self) -> Option<KvUsage> {
        self.1.kv()
    }
}

#[test]
fn broken_taps_do_not_conform() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    for (tampering, broken) in [
        (Tampering::NothingHandedOver, "taps_have_their_shapes"),
        (Tampering::WrongWidth, "taps_have_their_shapes"),
        (Tampering::WrongPosition, "taps_have_their_shapes"),
        (Tampering::ScaledStream, "tapped_residuals_add_up"),
        (Tampering::OtherLogits, "taps_change_no_logit"),
    ] {
        let options = EngineOptions::default();
        let report = conformance::check(&Tampered(tampering), &model, &options).unwrap();
        let check = report.checks.iter().find(|check| check.name == broken);
        let outcome = &check.unwrap().outcome;
        assert!(
            matches!(outcome, Outcome::Fail(_)),
            "{tampering:?}: {outcome:?}"
        );
    }
}
