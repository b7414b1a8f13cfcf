"""Turn a file of llama.cpp into a checkpoint in float32: run by real_writers, with the packages that read it.

python -m benchmarks.real_gguf FILE FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers

MAX_LENGTH = 1024
"""Tokens that it may read. It was trained for 8,192, but an export is compared with torch up to the longest text, and
no text here is longer."""


def main() -> int:
    """Read the weights and the tokenizer, and save them as transformers does."""
    file, target = map(Path, sys.argv[1:])
    read = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    module = transformers.AutoModelForCausalLM.from_pretrained(dtype=torch.float32, **read)
    # transformers saves no module that came quantized: the weights go into a new one
    settings = module.config.to_dict()
    settings.pop("quantization_config")
    settings["max_position_embeddings"] = MAX_LENGTH
    plain = type(module)(type(module.config).from_dict(settings))
    plain.load_state_dict(module.state_dict())
    plain.generation_config = module.generation_config
    plain.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(**read, model_max_length=MAX_LENGTH).save_pretrained(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
