//! What a run will do, settled and checked before it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use engine::{Capability, EngineInfo, EngineSpec, FailureKind, ModelArtifact, Tokenizer};
use reports::ModelRecord;
use suites::{Defaults, Input, Settings, Shard, Suite};

use crate::args::RunArguments;
use crate::config::{self, Config};
use crate::engines::Engines;
use crate::model;
use crate::past::AgainstHistory;
use crate::run::limits::Limits;
use crate::verdict::UserGate;

/// The engine in f32 that a lone engine is held against.
const REFERENCE: &str = "reference";

/// What runs when no engine is named: the formats people ship, as far as a model as
/// small as the embedded one can bear them (`q4_0` costs it over 2 % in perplexity).
const DEFAULT_ENGINES: [&str; 4] = [
    REFERENCE,
    "reference:activations=f16,kv=f16,weights=f16",
    "reference:weights=q8_0",
    "reference:weights=q4_k",
];

/// What suites read where nothing is named.
pub(crate) const EMBEDDED: Defaults<'static> = Defaults {
    text: fixtures::HELDOUT,
    items: fixtures::ITEMS,
    prompts: fixtures::PROMPTS,
    goldens: fixtures::GOLDENS,
};

/// A checked plan: the product of suites and engines, the baseline first.
pub(crate) struct Plan {
    pub(crate) suites: Vec<PlannedSuite>,
    pub(crate) engines: Vec<PlannedEngine>,
    /// What takes over from an engine that failed.
    pub(crate) fallback: Option<PlannedEngine>,
    pub(crate) gates: Vec<UserGate>,
    /// What the run is held against.
    pub(crate) history: Option<AgainstHistory>,
    pub(crate) shard: Shard,
    pub(crate) limits: Limits,
}

/// A suite and its settings, complete.
pub(crate) struct PlannedSuite {
    pub(crate) suite: &'static dyn Suite,
    pub(crate) settings: Settings,
}

/// An engine, its model, and how the two are named.
pub(crate) struct PlannedEngine {
    pub(crate) spec: EngineSpec,
    /// `spec` without the options that are the harness's own.
    pub(crate) own: EngineSpec,
    /// What it says of itself with these options.
    pub(crate) info: EngineInfo,
    /// Powers it has not with this model, and why.
    pub(crate) lacking: Vec<(Capability, String)>,
    pub(crate) model: Arc<LoadedModel>,
}

/// A model that has been read far enough to know it is one.
pub(crate) struct LoadedModel {
    pub(crate) artifact: ModelArtifact,
    pub(crate) record: ModelRecord,
    pub(crate) tokenizer: Box<dyn Tokenizer>,
    /// The model that the tokenizer comes from: this one, unless another is named.
    pub(crate) reader: ModelArtifact,
}

impl Plan {
    pub(crate) fn new(known: &Engines, arguments: &RunArguments) -> Result<Self> {
        let mut config = Config::load(arguments.config.as_deref())?;
        for text in &arguments.set {
            config.set_from(text)?;
        }
        if arguments.bisect {
            config.set_from("parity.bisect=true")?;
        }
        for text in &arguments.gates {
            config.gates.push(text.parse()?);
        }
        let history = against_history(arguments, &mut config)?;
        let suites = suites(arguments, &config)?;
        if arguments.bisect
            && !suites
                .iter()
                .any(|planned| planned.suite.name() == "parity")
        {
            bail!("--bisect belongs to the suite parity; add --suite parity");
        }
        let (engines, fallback) = engines(known, arguments, &config)?;
        if fallback.is_some() && arguments.shard != Shard::WHOLE {
            bail!("a fallback would give shards different cells; do without one or the other");
        }
        for planned in &suites {
            // Where all read the same, one check will do.
            let readers = match planned.suite.compares_tokens() {
                true => 1,
                false => engines.len(),
            };
            for reader in 0..readers {
                planned.suite.validate(&planned.input(&engines, reader))?;
            }
        }
        Ok(Self {
            suites,
            engines,
            fallback,
            gates: config.gates,
            history,
            shard: arguments.shard,
            limits: Limits::new(
                arguments.budget.or(config.budget),
                arguments.stall.or(config.stall),
                arguments.memory_limit.or(config.memory_limit),
            ),
        })
    }
}

impl PlannedSuite {
    /// What engine `index` is asked to read: the baseline's tokens where tokens are
    /// compared, those of its own model's tokenizer elsewhere.
    pub(crate) fn input<'a>(&'a self, engines: &'a [PlannedEngine], index: usize) -> Input<'a> {
        let reader = match self.suite.compares_tokens() {
            true => 0,
            false => index,
        };
        Input {
            tokenizer: &*engines[reader].model.tokenizer,
            defaults: EMBEDDED,
            model_sha256: &engines[reader].model.reader.sha256,
            settings: &self.settings,
        }
    }
}

/// The history to hold the run against, if any; one that cannot be read must not be found out at
/// the end.
fn against_history(
    arguments: &RunArguments,
    config: &mut Config,
) -> Result<Option<AgainstHistory>> {
    let mut against = config.history.take();
    if let Some(url) = &arguments.history {
        against.get_or_insert_default().url = Some(url.clone());
    }
    if let Some(branch) = &arguments.history_branch {
        let Some(against) = &mut against else {
            bail!("--history-branch belongs to --history URL; add that");
        };
        against.gate.branch = Some(branch.clone());
    }
    if let Some(against) = &against {
        against.open()?;
    }
    Ok(against)
}

fn suites(arguments: &RunArguments, config: &Config) -> Result<Vec<PlannedSuite>> {
    let names = first_given([&arguments.suites, &config.suites]);
    if names.is_empty() {
        let known: Vec<&str> = suites::all().iter().map(|suite| suite.name()).collect();
        bail!(
            "no suite named; use --suite {} or --suite all",
            known.join("|")
        );
    }
    let mut planned: Vec<PlannedSuite> = Vec::new();
    for name in names {
        let chosen = match name.as_str() {
            "all" => suites::all().to_vec(),
            name => vec![config::find_suite(name)?],
        };
        for suite in chosen {
            if planned
                .iter()
                .all(|other| other.suite.name() != suite.name())
            {
                planned.push(PlannedSuite {
                    suite,
                    settings: config.settings(suite, arguments.quick),
                });
            }
        }
    }
    Ok(planned)
}

/// The engines to run, and the one that takes over.
fn engines(
    known: &Engines,
    arguments: &RunArguments,
    config: &Config,
) -> Result<(Vec<PlannedEngine>, Option<PlannedEngine>)> {
    let mut texts = first_given([&arguments.engines, &config.engines]).to_vec();
    if texts.is_empty() {
        texts = DEFAULT_ENGINES.map(String::from).to_vec();
    }
    let baseline = arguments.baseline.as_ref().or(config.baseline.as_ref());
    let mut specs = Vec::new();
    match baseline {
        Some(text) => specs.push(text.parse::<EngineSpec>()?),
        None if texts.len() == 1 => specs.push(REFERENCE.parse()?),
        None => {}
    }
    for text in &texts {
        specs.push(text.parse()?);
    }
    let mut seen: Vec<EngineSpec> = Vec::new();
    specs.retain(|spec| {
        let new = !seen.contains(spec);
        if new {
            seen.push(spec.clone());
        }
        new
    });
    let count = specs.len();
    if let Some(text) = arguments.fallback.as_ref().or(config.fallback.as_ref()) {
        specs.push(text.parse()?);
    }

    let default = arguments.model.as_ref().or(config.model.as_ref());
    let mut models: Vec<([Option<PathBuf>; 2], Arc<LoadedModel>)> = Vec::new();
    let mut planned = Vec::new();
    for spec in specs {
        let mut own = spec.clone();
        let path = own
            .options
            .take("model")
            .map(PathBuf::from)
            .or_else(|| default.cloned());
        let paths = [path, own.options.take("tokenizer").map(PathBuf::from)];
        let engine = known
            .find(&own)
            .with_context(|| format!("--engine {spec}"))?;
        let mut info = match engine.probe(&own.options) {
            Err(error) if error.kind() == FailureKind::InvalidInput => {
                return Err(error).with_context(|| format!("--engine {spec}"));
            }
            // What else is wrong with it is for its cells to find, and to record.
            other => other.unwrap_or_else(|_| engine.describe()),
        };
        let model = match models.iter().find(|(others, _)| *others == paths) {
            Some((_, model)) => Arc::clone(model),
            None => {
                let [path, tokenizer] = &paths;
                let model = Arc::new(load(path.as_deref(), tokenizer.as_deref())?);
                models.push((paths, Arc::clone(&model)));
                model
            }
        };
        let lacking = engine.lacking(&model.artifact, &own.options);
        info.lose(&lacking);
        planned.push(PlannedEngine {
            spec,
            own,
            info,
            lacking,
            model,
        });
    }
    let fallback = planned.drain(count..).next();
    Ok((planned, fallback))
}

/// The model at `path`, read by the tokenizer of the one at `tokenizer` or its own.
pub(crate) fn load(path: Option<&Path>, tokenizer: Option<&Path>) -> Result<LoadedModel> {
    let artifact = model::artifact(path)?;
    let reader = match tokenizer {
        Some(path) => model::artifact(Some(path))?,
        None => artifact.clone(),
    };
    let tokenizer = model::tokenizer(&reader)?;
    Ok(LoadedModel {
        record: model::record(&artifact, &*tokenizer)?,
        artifact,
        tokenizer,
        reader,
    })
}

/// The command line's list, or else the configuration's.
fn first_given(lists: [&Vec<String>; 2]) -> &[String] {
    lists
        .into_iter()
        .find(|list| !list.is_empty())
        .map_or(&[], Vec::as_slice)
}
