"""Small models of every architecture, with random weights from a seed, and tokenizers trained on a few sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ortolan_exporters.architectures.registry import ARCHITECTURES, class_name
from ortolan_exporters.data import builtin_texts
from ortolan_exporters.errors import CheckpointError

VOCABULARY = 600
MAX_LENGTH = 96
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": MAX_LENGTH,
    # wide enough that answers differ from text to text
    "initializer_range": 0.15,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a tokenizer is made.

    Attributes:
        special: Padding, unknown, beginning, end and mask; `None` where the architecture has no such token.
        make: Untrained tokenizer and its trainer.
        template: Where the special tokens stand around a text, and around a pair.
    """

    special: dict[str, str]
    make: Callable[[list[str]], tuple[Tokenizer, Any]]
    template: tuple[str, str]


def _wordpiece(special: list[str]) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)


def _byte_level(special: list[str]) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )


def _unigram(special: list[str]) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = next(token for token in special if "unk" in token.lower())
    return made, trainers.UnigramTrainer(
        vocab_size=VOCABULARY - 40, special_tokens=special, unk_token=unknown, show_progress=False
    )


_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_ROBERTA = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}

KINDS = {
    "wordpiece": Kind(_BERT, _wordpiece, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")),
    "wordpiece after roberta": Kind(
        {**_ROBERTA, "unk": "[UNK]"}, _wordpiece, ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    ),
    "byte level": Kind(_ROBERTA, _byte_level, ("<s> $A </s>", "<s> $A </s> </s> $B </s>")),
    "byte level after bert": Kind(_BERT, _byte_level, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")),
    "byte level of gpt2": Kind({"eos": "<|endoftext|>"}, _byte_level, ("$A", "$A $B")),
    "unigram": Kind(_ROBERTA, _unigram, ("<s> $A </s>", "<s> $A </s> </s> $B </s>")),
    "unigram after bert": Kind({**_BERT, "unk": "<unk>"}, _unigram, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")),
    "unigram of t5": Kind({"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}, _unigram, ("$A </s>", "$A </s> $B </s>")),
}

TOKENIZERS = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "electra": "wordpiece",
    "mpnet": "wordpiece after roberta",
    "roberta": "byte level",
    "bart": "byte level",
    "modernbert": "byte level after bert",
    "gpt2": "byte level of gpt2",
    "xlm-roberta": "unigram",
    "albert": "unigram after bert",
    "deberta-v2": "unigram after bert",
    "t5": "unigram of t5",
    "mt5": "unigram of t5",
    "mbart": "unigram",
    "marian": "unigram of t5",
    "llama": "byte level of gpt2",
    "mistral": "byte level of gpt2",
    "qwen2": "byte level of gpt2",
    "qwen3": "byte level of gpt2",
    # beyond the architectures with a file of their own
    "camembert": "unigram",
    "roformer": "wordpiece",
    "convbert": "wordpiece",
    "nystromformer": "wordpiece",
    "opt": "byte level",
    "eurobert": "byte level after bert",
    "xlm-roberta-xl": "unigram",
    "squeezebert": "wordpiece",
    "mobilebert": "wordpiece",
    "megatron-bert": "wordpiece",
    "ernie": "wordpiece",
    "data2vec-text": "byte level",
    "rembert": "unigram after bert",
    "fnet": "unigram after bert",
    "funnel": "wordpiece",
    "gpt_neox": "byte level of gpt2",
}
"""Kind of tokenizer for each `model_type` that the zoo holds."""

SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 48, "hidden_dim": 96, "n_layers": 2, "n_heads": 4},
    "albert": {"embedding_size": 24, "num_hidden_layers": 3},
    "electra": {"embedding_size": 24},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "reference_compile": False},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
    "gpt2": {
        "n_embd": 48,
        "n_layer": 2,
        "n_head": 2,
        "num_attention_heads": 2,
        "n_inner": 96,
        "n_positions": MAX_LENGTH,
    },
    "t5": {"d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "initializer_factor": 0.5},
    "bart": {
        "d_model": 48,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "num_attention_heads": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "init_std": 0.15,
    },
    "rembert": {"input_embedding_size": 24, "output_embedding_size": 24},
    "mobilebert": {
        "embedding_size": 24,
        "intra_bottleneck_size": 24,
        "true_hidden_size": 24,
        "num_feedforward_networks": 2,
    },
    "squeezebert": {"embedding_size": 48},
    "funnel": {
        "num_hidden_layers": None,
        "d_model": 48,
        "n_head": 4,
        "d_head": 12,
        "d_inner": 96,
        "block_sizes": [1, 1, 1],
    },
    "llama": {"num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8},
    "qwen2": {"num_key_value_heads": 2, "head_dim": 16},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "opt": {"word_embed_proj_dim": 48, "ffn_dim": 96},
}
SIZES["mbart"] = SIZES["marian"] = SIZES["bart"]
SIZES["mt5"] = SIZES["t5"]


def tokenizer_for(model_type: str) -> Any:
    """Train a tokenizer of the kind that an architecture has, in a moment."""
    kind = KINDS[TOKENIZERS[model_type]]
    special = list(kind.special.values())
    made, trainer = kind.make(special)
    made.train_from_iterator([item.text for item in builtin_texts()] * 2, trainer)
    pieces = [piece for text in kind.template for piece in text.split()]
    marks = sorted({piece.split(":")[0] for piece in pieces if not piece.startswith("$")})
    if marks:
        made.post_processor = processors.TemplateProcessing(
            single=kind.template[0],
            pair=kind.template[1],
            special_tokens=[(mark, made.token_to_id(mark)) for mark in marks],
        )
    names = {f"{name}_token": token for name, token in kind.special.items()}
    has_segments = ":1" in kind.template[1]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=MAX_LENGTH - 2,
        model_input_names=["input_ids", *(["token_type_ids"] if has_segments else []), "attention_mask"],
        **names,
    )


def config_for(model_type: str, **overrides: Any) -> Any:
    """Make the config of a small model, with the special tokens of its tokenizer."""
    tokenizer = tokenizer_for(model_type)
    special = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
        for name in ("pad", "bos", "eos")
        if getattr(tokenizer, f"{name}_token_id") is not None
    }
    if model_type in ("bart", "mbart", "marian", "t5", "mt5"):
        special["decoder_start_token_id"] = special.get("bos_token_id", special["pad_token_id"])
    sizes = {**SMALL, **SIZES.get(model_type, {}), **special, "num_labels": 3, **overrides}
    given = {name: value for name, value in sizes.items() if value is not None}
    return transformers.AutoConfig.for_model(model_type, **given)


def model_for(model_type: str, task: str, *, seed: int = 0, **overrides: Any) -> Any:
    """Make a small model with the head for a task, in evaluation mode.

    Raises:
        CheckpointError: The architecture has no such head.
    """
    labels = {"num_labels": 2} if task == "question-answering" else {}  # a start and an end
    config = config_for(model_type, **{**labels, **overrides})
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None:
        from ortolan_exporters.architectures.generic import generic_architecture

        architecture = generic_architecture(config)
    name = class_name(architecture, task)
    if name is None:
        raise CheckpointError(f"a {model_type} for {task} requested", "there is no such head", "choose another task")
    torch.manual_seed(seed)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():  # biases start at zero, where a wrong one would not show
        for key, value in model.named_parameters():
            if key.endswith("bias"):
                value.normal_(std=0.1)
    return model


def save(folder: Path, model_type: str, task: str, *, seed: int = 0, **overrides: Any) -> Path:
    """Write a checkpoint as save_pretrained does; for sentence embeddings with a module list."""
    import json

    model = model_for(model_type, task, seed=seed, **overrides)
    model.save_pretrained(folder)
    tokenizer_for(model_type).save_pretrained(folder)
    if task == "sentence-embedding":
        kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
        rows = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds)
        ]
        (folder / "modules.json").write_text(json.dumps(rows))
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": model.config.hidden_size, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder
