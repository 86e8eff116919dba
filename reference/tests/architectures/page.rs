//! `docs/src/compatibility.md`: what runs, and what it was held against.

#[path = "../vectors/mod.rs"]
mod vectors;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use engine::{ModelArtifact, Tokenizer};
use harness_reference::ARCHITECTURES;
use harness_reference::gguf::{GgmlType, GgufFile, Metadata};
use harness_reference::quant::dequantize;
use harness_reference::tokenizer::{GgufTokenizer, TokenizerBuildError};

use crate::tiny::{self, TinyModel};

const VOCABULARIES: &str = "## llama.cpp's vocabularies";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/compatibility.md")
}

/// The page as far as it is the same on every machine but for the measured
/// differences, which `difference` gives for a model and an option string.
fn render(difference: impl Fn(&TinyModel, &str) -> f64) -> String {
    let mut page = String::from(
        "# Compatibility\n\
         \n\
         What the reference engine runs, and what that was held against. This page is written by\n\
         \n\
         ```sh\n\
         HARNESS_LLAMA_CPP_MODELS=$(echo $PWD/.oracles/llama.cpp/src/*/vendor/llama.cpp/models) \\\n  \
         cargo test --release -p harness-reference --test architectures -- --ignored page\n\
         ```\n\
         \n\
         and a test refuses it when it lists anything but what runs.\n\
         \n\
         ## Architectures\n\
         \n\
         Tiny models with random weights (`scripts/oracles/tiny_models.py`), converted by llama.cpp's\n\
         own converter and run over 64 tokens: in one piece, in uneven pieces and token by token. Δ is\n\
         the largest difference of any logit to Hugging Face transformers in float64, with the kernels\n\
         `plain` and `fast`; logits have an RMS of 1 to 4, and tests allow 1e-4. Switching any checked\n\
         feature off moves the logits by at least 1e-2.\n\
         \n\
         | architecture | model | class in transformers | features checked | Δ plain | Δ fast |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut models = tiny::committed();
    models.sort_by_key(|model| (place(model), model.name.clone()));
    for model in &models {
        let about = model.about();
        let [plain, fast] =
            ["plain", "fast"].map(|kernels| difference(model, &format!("kernels={kernels}")));
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {plain:.0e} | {fast:.0e} |",
            ARCHITECTURES[place(model)],
            model.name,
            about[0],
            about[1..].join(", ")
        );
    }
    let (read, refused): (Vec<GgmlType>, Vec<GgmlType>) =
        GgmlType::ALL.iter().partition(|ty| is_read(**ty));
    let _ = write!(
        page,
        "\nPhi-3's sliding window is applied, as transformers does and llama.cpp does not. LongRoPE's \
         long factors\nserve once the context (`ctx=…`) is longer than the one trained first, as in \
         llama.cpp; transformers\ngoes by the length of the text. Refused: mixtures of experts, \
         attention to later tokens, YaRN,\nmatrices with a factor of their own (NVFP4), heads whose values are of another width than their keys.\n\
         \n\
         ## Encoders\n\
         \n\
         `bert` with learned positions and exact GELU, for [embeddings](embedding.md): a tiny model like \
         those above,\nand all-MiniLM-L6-v2 (`scripts/oracles/embeddings-minilm`).\n\
         \n\
         ## Storage types\n\
         \n\
         Read: {}.\n\
         \n\
         Refused: {}.\n\
         \n\
         ## Tokenizers\n\
         \n\
         Algorithms (`tokenizer.ggml.model`): {}.\n\
         \n\
         Pre-tokenizers (`tokenizer.ggml.pre`): {}.\n",
        names(&read),
        names(&refused),
        known("unknown", ""),
        known("gpt2", "unknown"),
    );
    page
}

fn names(types: &[GgmlType]) -> String {
    let names: Vec<&str> = types.iter().map(|ty| ty.name()).collect();
    names.join(", ")
}

/// Where the architecture of `model` stands among those that run.
fn place(model: &TinyModel) -> usize {
    let file = GgufFile::open(&model.artifact()).unwrap();
    let architecture: &str = file.metadata().get("general.architecture").unwrap();
    let found = ARCHITECTURES.iter().position(|name| *name == architecture);
    found.unwrap_or_else(|| panic!("{}: `{architecture}` is not supported", model.name))
}

/// Whether tensors of `ty` can be dequantized.
fn is_read(ty: GgmlType) -> bool {
    let block = vec![0; ty.block_bytes()];
    dequantize(ty, &block, &mut vec![0.0; ty.block_size()]).is_ok()
}

/// What tokenizers are refused in favour of.
fn known(model: &str, pre: &str) -> String {
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", model);
    metadata.set("tokenizer.ggml.pre", pre);
    match GgufTokenizer::from_metadata(&metadata) {
        Err(TokenizerBuildError::Model { known, .. }) => known.into(),
        Err(TokenizerBuildError::PreTokenizer { known, .. }) => known,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a tokenizer without tokens"),
    }
}

/// The share of llama.cpp's own vectors that come out alike.
fn vocabularies(folder: &Path) -> String {
    let mut section = format!(
        "\n{VOCABULARIES}\n\n\
         The texts beside `models/ggml-vocab-*.gguf` in llama.cpp's source, encoded and decoded\n\
         (`reference/tests/llama_cpp_vocab.rs`).\n\n\
         | vocabulary | pre-tokenizer | texts | same ids |\n|---|---|---|---|\n"
    );
    let paths: BTreeSet<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .collect();
    for path in &paths {
        let file = GgufFile::open(&ModelArtifact::from_path(path).unwrap()).unwrap();
        let tokenizer = GgufTokenizer::from_metadata(file.metadata());
        let (Ok(tokenizer), Some(cases)) = (tokenizer, vectors::beside(path)) else {
            continue;
        };
        let same = cases
            .iter()
            .filter(|(text, ids)| tokenizer.encode(text).unwrap() == *ids)
            .count();
        let name = path.file_stem().unwrap().to_string_lossy();
        let pre = file.metadata().find::<&str>("tokenizer.ggml.pre").unwrap();
        let _ = writeln!(
            section,
            "| {} | {} | {} | {same} |",
            name.trim_start_matches("ggml-vocab-"),
            pre.unwrap_or("none"),
            cases.len()
        );
    }
    section
}

/// `page` without its last section and with measured numbers left out.
fn lasting(page: &str) -> Vec<&str> {
    let (page, _) = page.split_once(VOCABULARIES).unwrap_or((page, ""));
    page.split_whitespace()
        .map(
            |word| match word.contains('e') && word.parse::<f64>().is_ok() {
                true => "measured",
                false => word,
            },
        )
        .collect()
}

#[test]
fn the_page_lists_what_runs() {
    let shown: BTreeSet<usize> = tiny::committed().iter().map(place).collect();
    assert_eq!(shown.len(), ARCHITECTURES.len(), "one has no model");
    let page = fs::read_to_string(path()).unwrap();
    let expected = render(|_, _| 1e-5);
    assert!(
        lasting(&page) == lasting(&expected),
        "docs/src/compatibility.md is out of date; its head says how to write it"
    );
}

#[test]
#[ignore = "writes docs/src/compatibility.md; needs llama.cpp's vocabularies"]
fn write_the_page() {
    let folder = std::env::var_os("HARNESS_LLAMA_CPP_MODELS").unwrap_or_else(|| {
        panic!("HARNESS_LLAMA_CPP_MODELS names the folder of ggml-vocab-*.gguf")
    });
    let page = render(crate::difference) + &vocabularies(Path::new(&folder));
    fs::write(path(), page).unwrap();
}
