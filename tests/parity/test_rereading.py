"""Models that no operator has a cache for write too, and write the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import ortolan
from benchmarks import zoo
from ortolan_exporters import export

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    ("model_type", "task", "sizes"),
    [
        ("gpt2", "text-generation", {"n_head": 4, "num_attention_heads": 4}),
        ("t5", "text2text-generation", {"d_kv": 12}),
    ],
)
@pytest.mark.parametrize("beams", [1, 3])
def test_model_without_a_cache_writes_what_transformers_writes(
    tmp_path: Path, model_type: str, task: str, sizes: dict[str, int], beams: int
) -> None:
    folder = zoo.save(tmp_path / "checkpoint", model_type, task, **sizes)
    artifact = export(folder, tmp_path / "artifact", task=task, precisions=("fp32",))
    assert list(artifact.manifest.precisions["fp32"].graphs) == ["model"]
    pipe = ortolan.pipeline(task, artifact.folder, provider="cpu")
    texts = ["the film was good", "rain", "what a great day , and so very much of it"]
    got = pipe(texts, max_new_tokens=9, num_beams=beams, return_tensors=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    auto = transformers.AutoModelForCausalLM if task == "text-generation" else transformers.AutoModelForSeq2SeqLM
    model = auto.from_pretrained(folder).eval()
    for text, answer in zip(texts, got, strict=True):
        [found] = answer if isinstance(answer, list) else [answer]
        encoded = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            [wanted] = model.generate(**encoded, max_new_tokens=9, num_beams=beams, do_sample=False)
        assert found["generated_token_ids"] == wanted.tolist()
