"""Make text2text.json: what transformers 4.57.6 writes, as transformers 5 neither summarizes nor translates.

    python -m venv old && old/bin/pip install transformers==4.57.6 torch==2.13.0
    old/bin/python -m tests.goldens.make_text2text

Models are tiny and seeded, so that transformers 5 and the engine ask the same ones (`models`); tokenizers are of real
size. Each text is answered alone, and the best next token is always taken. How near the best two tokens came is
written down: where they are equal but for rounding, either may win.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, processors

from tests.goldens.make_question_answering import with_tokens_first
from tests.goldens.seeded import fast_tokenizer, fingerprint, read_tokenizer, seed_weights
from tests.parity.texts import PLAIN

FILE = Path(__file__).parent / "text2text.json"
VERSION = "4.57.6"
POSITIONS = 512
LEAST_MARGIN = 1e-4
"""The best two logits are never nearer than that in the goldens: then no rounding can change a token."""

LANGUAGES = (
    *("ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX"),
    *("kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN"),
    "zh_CN",
)
"""Tokens of languages, in the order in which mBART's tokenizer adds them."""

TEXTS = {name: text for name, text in PLAIN.items() if name != "hundreds of words"}
FEW = {name: TEXTS[name] for name in ("a sentence", "german", "emoji with joiners", "numbers", "code", "one word")}
GREEDY: dict[str, Any] = {"num_beams": 1, "do_sample": False}


@dataclass(frozen=True)
class Call:
    """One way to call a pipeline, with each of some texts.

    Attributes:
        task: Of the pipeline.
        options: Of the call.
        texts: By name.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=lambda: FEW)


def t5() -> tuple[Any, Any, dict[str, Any]]:
    """T5, which is told what to do by a prefix."""
    tokenizer = fast_tokenizer(
        with_template(read_tokenizer("unigram"), "$A </s>"), max_length=POSITIONS, segments=False, **ends()
    )
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        task_specific_params={
            "summarization": {"prefix": "summarize: ", "min_length": 6, "max_length": 14, "no_repeat_ngram_size": 2},
            "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 15, "num_beams": 4},
            "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 16},
        },
    )
    return transformers.T5ForConditionalGeneration(config), tokenizer, {"decoder_start_token_id": 0, "eos_token_id": 1}


def bart() -> tuple[Any, Any, dict[str, Any]]:
    """BART, as models that summarize are published: what it writes begins and ends as it must."""
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    backend = with_tokens_first(read_tokenizer("byte-level"), ["<s>", "<pad>", "</s>", "<unk>"])
    backend.add_special_tokens(list(dict.fromkeys(names.values())))
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    roles = {f"{role}_token": token for role, token in names.items()}
    tokenizer = fast_tokenizer(backend, max_length=POSITIONS, segments=False, **roles)
    config = transformers.BartConfig(vocab_size=len(tokenizer), **sizes())
    settings = {
        "decoder_start_token_id": 2,
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
        "no_repeat_ngram_size": 3,
        "min_length": 8,
        "max_length": 18,
    }
    return transformers.BartForConditionalGeneration(config), tokenizer, settings


def marian() -> tuple[Any, Any, dict[str, Any]]:
    """Marian, which begins with padding and must not write it."""
    backend = with_template(read_tokenizer("unigram"), "$A </s>")
    tokenizer = fast_tokenizer(backend, max_length=POSITIONS, segments=False, **ends())
    config = transformers.MarianConfig(
        vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **sizes()
    )
    settings = {
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "bad_words_ids": [[0]],
        "forced_eos_token_id": 1,
        "no_repeat_ngram_size": 2,
        "max_length": 16,
    }
    return transformers.MarianMTModel(config), tokenizer, settings


def mbart() -> tuple[Any, Any, dict[str, Any]]:
    """mBART, which is told by tokens from which language to which."""
    backend = read_tokenizer("unigram")
    backend.add_special_tokens(["<s>", *LANGUAGES, "<mask>"])
    backend = with_template(backend, "$A </s> en_XX")
    roles = {**ends(), "bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    tokenizer = fast_tokenizer(backend, max_length=POSITIONS, segments=False, **roles)
    config = transformers.MBartConfig(
        vocab_size=len(tokenizer),
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=32100,
        forced_eos_token_id=None,
        **sizes(),
    )
    settings = {"decoder_start_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "max_length": 16}
    return transformers.MBartForConditionalGeneration(config), tokenizer, settings


def ends() -> dict[str, str]:
    """Special tokens of T5's tokenizer."""
    return {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def with_template(backend: Tokenizer, template: str) -> Tokenizer:
    """Say which special tokens stand around a text."""
    marks = [(token, backend.token_to_id(token)) for token in template.split() if not token.startswith("$")]
    pair = template.replace("$A", "$A $B")
    backend.post_processor = processors.TemplateProcessing(single=template, pair=pair, special_tokens=marks)
    return backend


def sizes() -> dict[str, Any]:
    """Settings of a tiny BART and its like."""
    return {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": POSITIONS,
    }


MODELS: dict[str, tuple[Callable[[], tuple[Any, Any, dict[str, Any]]], int, float]] = {
    "t5": (t5, 1, 0.3),  # its scores are not scaled down: wider weights would make rounding errors large
    "bart": (bart, 0, 0.5),
    "marian": (marian, 0, 0.5),
    "mbart": (mbart, 0, 0.5),
}
"""How each is made, the seed of its weights, and how wide they are."""

NEW: dict[str, Any] = {"max_new_tokens": 10}
TO_FRENCH: dict[str, Any] = {"src_lang": "en_XX", "tgt_lang": "fr_XX"}
TO_JAPANESE: dict[str, Any] = {"src_lang": "de_DE", "tgt_lang": "ja_XX", "max_new_tokens": 8}

CALLS: dict[str, dict[str, Call]] = {
    "t5": {
        "text": Call("text2text-generation", NEW, TEXTS),
        "summary": Call("summarization", NEW, TEXTS),
        "German": Call("translation_en_to_de", NEW, TEXTS),
        "French": Call("translation_en_to_fr", {"max_new_tokens": 6}),
        "some language": Call("translation", NEW),
        "cleaned up": Call("text2text-generation", {**NEW, "clean_up_tokenization_spaces": True}),
        "tokens": Call("text2text-generation", {**NEW, "return_tensors": True}),
        "at least so much": Call("summarization", {"max_new_tokens": 12, "min_length": 9}),
        "at least so much that is new": Call("summarization", {"max_new_tokens": 12, "min_new_tokens": 7}),
        "an end": Call("text2text-generation", {**NEW, "eos_token_id": [747, 1997, 9939]}, TEXTS),
        "nothing twice": Call("text2text-generation", {"max_new_tokens": 16, "no_repeat_ngram_size": 1}),
        "penalty": Call("text2text-generation", {"max_new_tokens": 16, "repetition_penalty": 1.7}),
        "cut": Call(
            "summarization", {**NEW, "truncation": True}, {"hundreds of words": PLAIN["hundreds of words"] * 2}
        ),
    },
    "bart": {
        "text": Call("text2text-generation", {}, TEXTS),
        "summary": Call("summarization", {}, TEXTS),
        "short summary": Call("summarization", {"max_length": 10, "min_length": 4}),
        "new tokens": Call("summarization", {"max_new_tokens": 5, "min_length": 0}),
        "not these": Call("summarization", {"suppress_tokens": [0, 5, 7], "begin_suppress_tokens": [2, 9]}),
    },
    "marian": {
        "translation": Call("translation", {}, TEXTS),
        "named": Call("translation_en_to_fr", {}),
        "bad words": Call("translation", {"bad_words_ids": [[0], [9], [20, 21]], "max_new_tokens": 12}),
    },
    "mbart": {
        "French": Call("translation", TO_FRENCH, TEXTS),
        "Japanese": Call("translation", TO_JAPANESE, TEXTS),
        "text": Call("text2text-generation", NEW),
    },
}


def model_and_tokenizer(name: str) -> tuple[Any, Any]:
    """Make one of `MODELS`, the same in every version of transformers."""
    make, seed, spread = MODELS[name]
    module, tokenizer, settings = make()
    # Marian's positions are waves, which no checkpoint holds
    waves = {key: one.clone() for key, one in module.named_parameters() if name == "marian" and "positions" in key}
    seed_weights(module, seed, spread)
    with torch.no_grad():
        for key, one in waves.items():
            module.get_parameter(key).copy_(one)
    module.generation_config = transformers.GenerationConfig(
        **{"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, **settings}
    )
    return module.eval(), tokenizer


def main() -> None:
    """Write the file."""
    assert transformers.__version__ == VERSION, f"this is transformers {transformers.__version__}"
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    models = {}
    for name, calls in CALLS.items():
        module, tokenizer = model_and_tokenizer(name)
        answers = {title: answers_to(name, call) for title, call in calls.items()}
        margin = min(one.pop("margin") for one in answers.values())
        assert margin > LEAST_MARGIN, f"{name}: the best two logits come as near as {margin}; take another seed"
        models[name] = {"weights": fingerprint(module), "margin": margin, "answers": answers}
        print(name, margin, len(tokenizer))
    document = {"transformers": VERSION, "torch": torch.__version__, "models": models}
    FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def answers_to(name: str, call: Call) -> dict[str, Any]:
    """Call a pipeline with each text; a new one, as some change their model's settings."""
    module, tokenizer = model_and_tokenizer(name)
    pipe = transformers.pipeline(call.task, module, tokenizer=own_tokenizer(name, tokenizer), device="cpu")
    margins: list[float] = []
    hook = module.register_forward_hook(lambda _, __, output: margins.append(margin_of(output.logits)))
    found = {what: plain(pipe(text, **GREEDY, **call.options)) for what, text in call.texts.items()}
    hook.remove()
    return {**found, "margin": min(margins)}


def own_tokenizer(name: str, tokenizer: Any) -> Any:
    """Load a tokenizer as the class that knows about languages, where the model has one."""
    if name != "mbart":
        return tokenizer
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.backend_tokenizer.save(f"{folder}/tokenizer.json")
        found = transformers.MBartTokenizerFast(
            tokenizer_file=f"{folder}/tokenizer.json", model_max_length=POSITIONS, src_lang="en_XX", tgt_lang="ro_RO"
        )
    assert len(found) == len(tokenizer), "it has added tokens"
    assert [found.convert_tokens_to_ids(token) for token in ("</s>", "<pad>", "ja_XX")] == [
        tokenizer.convert_tokens_to_ids(token) for token in ("</s>", "<pad>", "ja_XX")
    ]
    return found


def margin_of(logits: torch.Tensor) -> float:
    """How far the best logit of the last place is from the next one."""
    best = logits[0, -1].topk(2).values
    return float(best[0] - best[1])


def plain(answer: Any) -> Any:
    """Make lists of tensors."""
    return [
        {key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in one.items()}
        for one in answer
    ]


if __name__ == "__main__":
    main()
