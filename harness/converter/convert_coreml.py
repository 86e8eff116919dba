#!/usr/bin/env python3
"""Converts a GGUF model to a stateful Core ML ML Program (iOS 18, macOS 15), on any system.

    python3 -m venv /tmp/coremltools
    /tmp/coremltools/bin/pip install coremltools==9.0 gguf
    /tmp/coremltools/bin/python scripts/convert_coreml.py model.gguf --out model.mlpackage

Families: Llama (Qwen 2 and 3 too), Gemma (1 to 3), Phi-2, GPT-2. Neither torch nor a Mac is needed.
`harness model convert MODEL --to coreml --out model.mlpackage` runs this script, and takes Hugging
Face folders as well. Beside the package stands model.mlpackage.json, which says what it is made
of. The package holds the model's vocabulary (a GGUF without tensors), so that tokenizer and weights
stay together. The same model and options give the same bytes.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import pathlib
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
import warnings

ATTEMPTS = 3
SPEC = "com.apple.CoreML/model.mlmodel"
ITEMS = [(SPEC, "com.apple.CoreML", "model.mlmodel", "CoreML Model Specification"),
         ("com.apple.CoreML/weights", "com.apple.CoreML", "weights", "CoreML Model Weights"),
         ("harness/vocabulary.gguf", "harness", "vocabulary.gguf", "Tokenizer")]


def fail(message):
    sys.exit(f"error: {message}")


try:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    import coremltools as ct
    import gguf
    import numpy as np
    from coremltools.models.neural_network import flexible_shape_utils
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    from coreml_convert.network import Decoder
    from coreml_convert.schemes import SCHEMES, Compressor
    from coreml_convert.source import Refused, Shape, Source
except ImportError as error:
    fail(f"{error}\n{sys.executable} lacks what the conversion needs; install it with\n"
         f"    {sys.executable} -m pip install coremltools==9.0 gguf")


class Lengths:
    """Prompt lengths of a function: one, a range `1..256`, or a list `1,32,256`."""

    def __init__(self, text):
        range_, list_ = re.fullmatch(r"(\d+)\.\.(\d+)", text), text.split(",")
        try:
            self.values = [int(v) for v in (range_.groups() if range_ else list_)]
        except ValueError:
            raise argparse.ArgumentTypeError(f"`{text}`: write 256, 1..256 or 1,32,256") from None
        if self.values != sorted(set(self.values)) or self.values[0] < 1:
            raise argparse.ArgumentTypeError(f"`{text}`: lengths go up from 1 or more")
        self.kind = "range" if range_ else "fixed" if len(self.values) == 1 else "enumerated"

    def fixed(self):
        return self.values[0] if self.kind == "fixed" else None

    def up_to(self, context):
        """The same, and whatever is needed for texts that fill the context."""
        more = self.values[:1] if self.kind == "range" else [v for v in self.values if v != context]
        separator = ".." if self.kind == "range" else ","
        return Lengths(separator.join(map(str, [*more, context])))

    def describe(self, feature):
        """Writes the lengths into the description of input `tokens`."""
        array = feature.type.multiArrayType
        array.ClearField("ShapeFlexibility")
        array.shape[:] = [1, self.values[0]]
        if self.kind == "range":
            flexible_shape_utils._set_multiarray_ndshape_range_for_feature(
                feature, lower_bounds=[1, self.values[0]], upper_bounds=[1, self.values[1]])
        elif self.kind == "enumerated":
            flexible_shape_utils._add_multiarray_ndshape_enumeration_for_feature(
                feature, [(1, length) for length in self.values])


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="GGUF file")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="package to write, *.mlpackage")
    parser.add_argument("--scheme", choices=SCHEMES, default="fp16", help="how matrices are stored")
    parser.add_argument("--exclude", action="append", default=[], metavar="REGEX",
                        help="leave matrices with such names in FP16, e.g. token_embd; repeatable")
    parser.add_argument("--layout", choices=["rows", "ane"], default="rows",
                        help="rows: linear layers on [1, tokens, hidden]; ane: 1x1 convolutions on "
                             "[1, hidden, 1, tokens], which the Neural Engine prefers")
    parser.add_argument("--functions", choices=["single", "multi"], default="single",
                        help="single: `main`; multi: `prefill` and `decode`, sharing weights")
    parser.add_argument("--encode", action="store_true",
                        help="with multi: also `encode`, final hidden states without a cache")
    parser.add_argument("--prompt-lengths", type=Lengths, default=Lengths("1..256"),
                        help="tokens a call of main or prefill may take: 64, 1..256 or 1,32,256")
    parser.add_argument("--context", type=int, default=1024,
                        help="tokens the KV cache holds, at most what the model was trained for")
    parser.add_argument("--version", default="1.0.0", help="semantic version of the package")
    parser.add_argument("--defect", choices=["reread-state"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out.suffix != ".mlpackage":
        parser.error(f"--out {options.out}: the name must end in .mlpackage")
    if options.out.exists():
        parser.error(f"{options.out} exists; name another package")
    if not re.fullmatch(r"\d+\.\d+\.\d+([-+].+)?", options.version):
        parser.error(f"--version {options.version}: write MAJOR.MINOR.PATCH")
    if options.encode and options.functions != "multi":
        parser.error("--encode wants --functions multi")
    try:
        options.excluded = [re.compile(pattern) for pattern in options.exclude]
    except re.error as error:
        parser.error(f"--exclude: {error}")
    return options


class Progress:
    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, what):
        print(f"{time.monotonic() - self.start:6.1f} s  {what}", file=sys.stderr, flush=True)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(file.read()).hexdigest()


def package_digest(package):
    """The hash by which the harness knows a package: of the list of its files."""
    lines, total = [], 0
    for path in sorted(p for p in package.rglob("*") if p.is_file()):
        size = path.stat().st_size
        lines.append((path.relative_to(package).as_posix(), f"{sha256(path)} {size}"))
        total += size
    text = "".join(f"{digest} {name}\n" for name, digest in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest(), total


@contextlib.contextmanager
def quiet():
    """Hides coremltools' progress bars, which leave no room for ours."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def lower(program, lengths, vocabulary_size, work):
    """A MIL program as a package of one function."""
    pipeline = ct.PassPipeline.DEFAULT
    if vocabulary_size > 32767:
        # Token ids would pass through 16 bits.
        pipeline.remove_passes({"common::add_int16_cast"})
    with quiet():
        model = ct.convert(program, minimum_deployment_target=ct.target.iOS18,
                           compute_precision=ct.precision.FLOAT16, skip_model_load=True,
                           pass_pipeline=pipeline)
    path = work / f"{uuid.uuid4()}.mlpackage"
    model.save(str(path))
    spec = read_spec(path)
    lengths.describe(next(i for i in spec.description.input if i.name == "tokens"))
    write_spec(spec, path)
    return path


def read_spec(package):
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString((package / "Data" / SPEC).read_bytes())
    return spec


def write_spec(spec, package):
    (package / "Data" / SPEC).write_bytes(spec.SerializeToString(deterministic=True))


def functions(options, context):
    """Name, prompt lengths, and whether there are states."""
    limit = min(context, options.prompt_lengths.values[-1])
    if limit < options.prompt_lengths.values[-1]:
        raise Refused(f"prompts of {options.prompt_lengths.values[-1]} tokens in a context of {context}")
    if options.functions == "single":
        if options.prompt_lengths.values[0] != 1:
            raise Refused("a single function must take one token too: lengths from 1 on, or "
                          "--functions multi")
        return [("main", options.prompt_lengths, True)]
    plan = [("prefill", options.prompt_lengths, True), ("decode", Lengths("1"), True)]
    # Without a cache a text must pass in one call.
    return plan + [("encode", options.prompt_lengths.up_to(context), False)] * options.encode


def convert(options, work, progress):
    source = Source(options.model)
    shape = Shape(source, options.context)
    plan = functions(options, shape.context)
    progress(f"{options.model}: {shape.architecture}, {shape.layers_count} layers, "
             f"{shape.parameters} parameters, context {shape.context}")
    count = [0]

    def compressed(name):
        count[0] += 1
        if count[0] % 50 == 0:
            progress(f"{count[0]} matrices as {options.scheme}")

    compressor = Compressor(options.scheme, options.excluded, compressed)
    decoder = Decoder(source, shape, compressor, options.layout, options.defect)
    parts = {}
    for name, lengths, stateful in plan:
        progress(f"function `{name}`")
        parts[name] = lower(decoder.program(lengths.fixed(), stateful), lengths, shape.vocab, work)
    package = work / "package.mlpackage"
    if options.functions == "single":
        parts["main"].rename(package)
    else:
        progress("merging functions")
        descriptor = MultiFunctionDescriptor()
        for name, path in parts.items():
            descriptor.add_function(str(path), src_function_name="main", target_function_name=name)
        descriptor.default_function_name = "decode"
        with quiet():
            save_multifunction(descriptor, str(package))
    digest = sha256(options.model)
    spec = read_spec(package)
    metadata = spec.description.metadata
    metadata.versionString = options.version
    metadata.shortDescription = f"{source.get('general.name', options.model.stem)}, {options.scheme}"
    metadata.license = source.get("general.license", "")
    for key in list(metadata.userDefined):
        if key.endswith("date"):
            del metadata.userDefined[key]
    config = {**shape.config(), "scheme": options.scheme, "layout": options.layout,
              "source_sha256": digest}
    metadata.userDefined["harness.config"] = json.dumps(config, sort_keys=True)
    write_spec(spec, package)
    vocabulary = package / "Data/harness/vocabulary.gguf"
    vocabulary.parent.mkdir()
    vocabulary.write_bytes(source.vocabulary())
    write_manifest(package)
    return package, manifest(options, spec, package, compressor, config, plan)


def write_manifest(package):
    """The package's own list of items, with identifiers that depend on nothing else."""
    identifier = {path: str(uuid.uuid5(uuid.NAMESPACE_URL, path)) for path, *_ in ITEMS}
    entries = {identifier[path]: {"author": author, "description": about, "name": name, "path": path}
               for path, author, name, about in ITEMS}
    (package / "Manifest.json").write_text(json.dumps(
        {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries,
         "rootModelIdentifier": identifier[SPEC]}, indent=4, sort_keys=True) + "\n")


def manifest(options, spec, package, compressor, config, plan):
    digest, size = package_digest(package)
    described = list(spec.description.functions) or [spec.description]
    return {
        "name": options.out.stem,
        "semantic_version": options.version,
        "package": {"sha256": digest, "size_bytes": size},
        "source": {"file": options.model.name, "sha256": config["source_sha256"],
                   "size_bytes": options.model.stat().st_size},
        "scheme": options.scheme,
        "left_in_fp16": compressor.left,
        "excluded": options.exclude,
        "layout": options.layout,
        "specification_version": spec.specificationVersion,
        "minimum_deployment_target": "iOS 18, macOS 15",
        "config": config,
        "functions": [
            {"name": name, "prompt_lengths": {"kind": lengths.kind, "values": lengths.values},
             "inputs": [f.name for f in d.input], "outputs": [f.name for f in d.output],
             "states": [f.name for f in d.state]}
            for (name, lengths, _), d in zip(plan, sorted(
                described, key=lambda d: [p[0] for p in plan].index(d.name or "main")
                if options.functions == "multi" else 0))],
        "tools": {"python": platform.python_version(), "coremltools": ct.__version__,
                  "numpy": np.__version__, "gguf": gguf_version()},
    }


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


def main():
    options, progress = arguments(), Progress()
    # A terminated conversion cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = options.out.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot write {options.out}: {error}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            # Beside the target, so that the last step is a rename.
            with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder) as work:
                # coremltools keeps what it loads in temporary folders of its own.
                tempfile.tempdir = work
                package, about = convert(options, pathlib.Path(work), progress)
                for path in [package, *package.rglob("*")]:
                    path.chmod(0o755 if path.is_dir() else 0o644)
                package.rename(options.out)
                beside = options.out.with_name(options.out.name + ".json")
                beside.write_text(json.dumps(about, indent=2) + "\n")
            break
        except Refused as error:
            fail(f"{options.model}: {error}")
        except OSError as error:
            if attempt == ATTEMPTS or isinstance(error, FileNotFoundError) and not options.model.exists():
                fail(f"cannot convert {options.model}: {error}")
            progress(f"attempt {attempt} of {ATTEMPTS} failed: {error}; again")
            time.sleep(attempt)
        finally:
            tempfile.tempdir = None
    progress(f"{options.out}: {about['package']['size_bytes']} bytes, "
             f"sha256 {about['package']['sha256']}")


if __name__ == "__main__":
    main()
