"""From what a user names to a torch module in float32 with its tokenizer."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from ortolan.errors import ConfigError, MissingFileError
from ortolan.hub import CHECKPOINT_FILES, download, is_hub_id
from ortolan.locate import is_folder
from ortolan_exporters.architectures.base import Architecture, inputs_of
from ortolan_exporters.architectures.registry import architecture_of, class_name, task_of
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import CheckpointError, UnsupportedArchitectureError, brief
from ortolan_exporters.example_inputs import FREE_AXES, Vocabulary, example_batch
from ortolan_exporters.heads.base import Head, ask
from ortolan_exporters.heads.registry import HEADS
from ortolan_exporters.remote_code import TRUST, check_no_code_needed, head_class, settings_in
from ortolan_exporters.sentences import SentenceEmbedder, has_modules, max_sequence_length, with_modules
from ortolan_exporters.weights import check_finite, make_module

SENTENCEPIECE = ("spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Vocabularies that the package of that name reads."""

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", *SENTENCEPIECE)
"""Files that a tokenizer is made of, one of which a checkpoint has. All but the first are converted to it."""

NO_LIMIT = 1e9
"""transformers writes 1e30 where a tokenizer sets no limit of its own."""

DEFAULT_MAX_LENGTH = 512
"""Most tokens where neither model nor tokenizer sets a limit: T5 was trained with as many."""

EXTRA_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "hidden_states": ("batch", "sequence", "hidden"),
    "attentions": ("batch", "heads", "sequence", "sequence"),
}
"""What may be asked for besides the outputs of a head: one of each layer, `hidden_states.0` being the embeddings."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to be traced.

    Attributes:
        module: In float32, in evaluation mode; with what a module list puts behind it.
        tokenizer: A fast tokenizer of transformers, which has a padding token.
        architecture: What the exporter knows of it.
        head: Its head.
        inputs: Inputs of the graph, each int64 [B, S], or [B, T] for what a decoder has written.
        outputs: Outputs of the graph with their axes: those of the head, then those asked for besides.
        extra_outputs: What was asked for besides: "hidden_states", "attentions".
        source: Where it came from, for the manifest.
        folder: Its files, or None for a module that was handed in.
        layout: What its graphs are to be like: "fused" or "portable".
    """

    module: Any
    tokenizer: Any
    architecture: Architecture
    head: Head
    inputs: tuple[str, ...]
    outputs: Mapping[str, tuple[int | str, ...]]
    extra_outputs: tuple[str, ...]
    source: dict[str, Any]
    folder: Path | None
    layout: str = "fused"

    @property
    def task(self) -> str:
        """Name of the task its head serves."""
        return self.head.task

    @property
    def transformer(self) -> Any:
        """The model of transformers, without what a module list puts behind it."""
        return transformer_of(self.module)

    @property
    def is_cached(self) -> bool:
        """Whether its decoder is exported over a cache, which gives nothing besides what the head has."""
        can_be = self.layout == "portable" or self.architecture.positions_by is not None
        return self.head.writes and can_be and not self.extra_outputs

    @property
    def config(self) -> Any:
        """Config of the model."""
        return self.module.config

    @property
    def max_length(self) -> int:
        """Most tokens: the positions of the model, or fewer if the tokenizer or the module list says so."""
        limits = (
            self.architecture.positions(self.config),
            self.tokenizer.model_max_length if self.tokenizer.model_max_length < NO_LIMIT else None,
            max_sequence_length(self.folder) if self.task == "sentence-embedding" else None,
        )
        return int(min((limit for limit in limits if limit is not None), default=DEFAULT_MAX_LENGTH))

    @property
    def vocabulary(self) -> Vocabulary:
        """What random tokens for it are drawn from."""
        end = self.config.eos_token_id if self.architecture.needs_end else None
        return Vocabulary(self.config.vocab_size, self.tokenizer.pad_token_id, end)


def resolve(model: Any, tokenizer: Any, config: ExportConfig) -> Checkpoint:
    """Load a checkpoint.

    Args:
        model: A folder, a Hub id, or a torch module of transformers.
        tokenizer: A tokenizer, or the folder or Hub id of one; by default that of the checkpoint.
        config: Task, head, overrides, and what may be read.

    Raises:
        MissingFileError: No such folder, and none on the Hub.
        CheckpointError: No config, no weights, only pickles, weights that don't fit, no tokenizer, or code of its own
            that would have to run.
        UnsupportedArchitectureError: No exporter for it, or it has no outputs such as were asked for.
        ConfigError: An override that the config doesn't have.
    """
    if isinstance(model, torch.nn.Module):
        return _from_module(model, tokenizer, config)
    folder, name, revision = _folder_of(model, config)
    model_config = _read_config(folder, name, config.trust_remote_code)
    architecture = architecture_of(model_config, trust_remote_code=config.trust_remote_code)
    task = task_of(
        architecture,
        model_config,
        config.task,
        has_new_head=config.num_labels is not None,
        has_modules=has_modules(folder),
    )
    _override(model_config, config)
    words = _with_padding(_tokenizer(tokenizer, folder, name, config.trust_remote_code), model_config)
    head = head_class(architecture, task, folder, name)
    module, new = make_module(head, folder, name, model_config, config)
    source = _source(module, _public_name(name), revision, new)
    return _checkpoint(module, words, architecture, task, config, source, folder)


def transformer_of(module: Any) -> Any:
    """Give the model of transformers within a module, or the module itself."""
    return module.transformer if isinstance(module, SentenceEmbedder) else module


def _from_module(module: Any, tokenizer: Any, config: ExportConfig) -> Checkpoint:
    if not isinstance(module, transformers.PreTrainedModel):
        raise UnsupportedArchitectureError(
            f"export of {type(module).__name__} requested",
            "only models of transformers carry the config that export needs",
            "pass a PreTrainedModel, such as BertForSequenceClassification",
        )
    if tokenizer is None:
        raise CheckpointError("export of a module requested", "it came without a tokenizer", "pass tokenizer=")
    if config.num_labels is not None or config.overrides or config.from_scratch:
        raise ConfigError(
            "changes to a module requested",
            "num_labels, config and from_scratch need a checkpoint",
            "change the module",
        )
    architecture = architecture_of(module.config)
    task = config.task
    if task is None:
        task = {class_name(architecture, one): one for one in reversed(HEADS)}.get(type(module).__name__)
    task = task_of(architecture, module.config, task, has_new_head=False, has_modules=False)
    check_finite(module, type(module).__name__)
    # a copy: tracing changes the module's attention, and the caller's module may be in use
    copied: Any = copy.deepcopy(module)
    copied = copied.to(torch.float32).eval()
    source = _source(module, type(module).__name__, None, [])
    folder = Path(tokenizer) if isinstance(tokenizer, (str, Path)) and Path(tokenizer).is_dir() else None
    words = _with_padding(_tokenizer(tokenizer, None, "", config.trust_remote_code), copied.config)
    return _checkpoint(copied, words, architecture, task, config, source, folder)


def _checkpoint(
    module: Any,
    tokenizer: Any,
    architecture: Architecture,
    task: str,
    config: ExportConfig,
    source: dict[str, Any],
    folder: Path | None,
) -> Checkpoint:
    """Put together what is known, and ask the module once, to learn what it answers."""
    name, head = source["name"], HEADS[task]
    _check_vocabulary(tokenizer, module.config, name)
    if config.layout == "portable" and head.writes:
        _check_portable(config, module.config)
    if task == "sentence-embedding":
        module = with_modules(module, folder, name).eval()
    transformer = transformer_of(module)
    if "attentions" in config.outputs:
        transformer.set_attn_implementation("eager")  # only this one keeps them
    inputs = (*inputs_of(transformer.config, _forward_names(transformer)), *head.inputs)
    found = Checkpoint(module, tokenizer, architecture, head, inputs, {}, config.outputs, source, folder, config.layout)
    return replace(found, outputs=_outputs(found))


def _forward_names(transformer: Any) -> frozenset[str]:
    """Parameters of a forward pass; one that is not of transformers and takes any may take segments among them."""
    parameters = inspect.signature(transformer.forward).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    is_foreign = type(transformer).__module__.partition(".")[0] != "transformers"
    return frozenset((*parameters, "token_type_ids") if takes_any and is_foreign else parameters)


def _outputs(checkpoint: Checkpoint) -> dict[str, tuple[int | str, ...]]:
    head, asked = (
        checkpoint.head,
        f"outputs {', '.join((*checkpoint.head.outputs, *checkpoint.extra_outputs))} requested",
    )
    feed = example_batch(checkpoint.inputs, 2, min(6, checkpoint.max_length), vocabulary=checkpoint.vocabulary)
    try:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(values) for name, values in feed.items()}
            answers = ask(head.answer, head, checkpoint.module, tensors, checkpoint.extra_outputs)
    except (KeyError, TypeError) as error:
        raise UnsupportedArchitectureError(
            asked, f"{type(checkpoint.transformer).__name__} does not return them ({error})", "ask for others"
        ) from error
    axes: dict[str, tuple[str, ...]] = dict(head.outputs)
    for name in answers:
        kind = name.split(".")[0]
        axes.setdefault(name, EXTRA_OUTPUTS.get(kind, ()))
    return {
        name: tuple(axis if axis in FREE_AXES else length for axis, length in zip(axes[name], one.shape, strict=True))
        for name, one in answers.items()
    }


def _check_portable(config: ExportConfig, model_config: Any) -> None:
    """Refuse what optimum's layout of a model that writes has no place for, or what would not be made rightly."""
    asked, remedy = "a model that writes with layout 'portable' requested", "use layout 'fused', or leave that out"
    if config.outputs:
        raise ConfigError(asked, f"{', '.join(config.outputs)} of every layer are asked for too", remedy)
    if model_config.is_encoder_decoder and "int8-static" in config.precisions:
        # texts are read at once to find ranges, which the graph with a past never sees
        raise ConfigError(asked, "int8-static is not there for one with an encoder", remedy)


def _check_vocabulary(tokenizer: Any, model_config: Any, name: str) -> None:
    if len(tokenizer) > model_config.vocab_size:
        raise CheckpointError(
            f"tokenizer of '{name}' requested",
            f"it has {len(tokenizer)} tokens and the model {model_config.vocab_size} embeddings",
            "pass the tokenizer that the model was trained with",
        )


def _with_padding(tokenizer: Any, model_config: Any) -> Any:
    """Give a tokenizer without a padding token its end token for one, as users of GPT-2 do, and tell the model."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise CheckpointError(
            f"tokenizer {type(tokenizer).__name__} requested",
            "it has neither a padding token nor an end token to use for one",
            "set tokenizer.pad_token and save it again",
        )
    if getattr(model_config, "pad_token_id", None) is None:
        model_config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def _folder_of(model: Any, config: ExportConfig) -> tuple[Path, str, str | None]:
    folder = Path(model)
    if is_folder(folder):
        if config.revision is not None:
            raise ConfigError(
                f"revision '{config.revision}' requested", f"'{model}' is a folder, which has none", "leave it out"
            )
        return folder, str(model), None
    name = str(model)
    if not is_hub_id(name):
        raise MissingFileError(f"checkpoint '{name}' requested", "there is no such folder", "check the path")
    pickles = ("pytorch_model*.bin",) if config.allow_pickle else ()
    code = ("*.py",) if config.trust_remote_code else ()
    patterns = (*CHECKPOINT_FILES, *pickles, *code)
    folder = download(name, revision=config.revision, patterns=patterns)
    return folder, name, folder.name


def _read_config(folder: Path, name: str, trust_remote_code: bool) -> Any:
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"checkpoint '{name}' requested",
            "the folder has no config.json",
            "pass a folder that save_pretrained wrote",
        )
    if not trust_remote_code:
        check_no_code_needed(folder, name)
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # a wrong type raises an error of the Hub's client, no ValueError
        kind = settings_in(folder / "config.json").get("model_type")
        if not trust_remote_code and isinstance(kind, str) and kind not in transformers.CONFIG_MAPPING:
            architecture_of(SimpleNamespace(model_type=kind))  # says which there are
        raise CheckpointError(
            f"checkpoint '{name}' requested", f"config.json cannot be read ({brief(error)})", "check the file"
        ) from error


def _override(model_config: Any, config: ExportConfig) -> None:
    known = model_config.to_dict()
    unknown = sorted(key for key in config.overrides if key not in known)
    if unknown:
        raise ConfigError(
            f"config {', '.join(unknown)} requested",
            f"the config of {model_config.model_type} has no such entry",
            f"use some of {', '.join(sorted(known))}",
        )
    for key, value in config.overrides.items():
        try:
            setattr(model_config, key, value)
        except Exception as error:  # as above
            raise ConfigError(f"config {key}={value!r} requested", brief(error), "use a value of its type") from error
    if config.num_labels is not None:
        model_config.num_labels = config.num_labels


def _tokenizer(tokenizer: Any, folder: Path | None, name: str, trust_remote_code: bool) -> Any:
    if tokenizer is None or isinstance(tokenizer, (str, Path)):
        place = folder if tokenizer is None else tokenizer
        # transformers makes a tokenizer without words, and says nothing, where there are no files
        if (
            place is not None
            and Path(place).is_dir()
            and not any((Path(place) / file).is_file() for file in VOCABULARIES)
        ):
            raise CheckpointError(
                f"tokenizer of '{name or place}' requested",
                f"the folder has none of {', '.join(VOCABULARIES)}",
                "add tokenizer.json to the folder, or pass tokenizer=",
            )
        if place is not None and not find_spec("sentencepiece"):
            _check_needs_no_sentencepiece(Path(place), name)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code)
        except Exception as error:  # as with weights: many kinds
            has_code = place is not None and "auto_map" in settings_in(Path(place) / "tokenizer_config.json")
            raise CheckpointError(
                f"tokenizer of '{name or place}' requested",
                f"it cannot be loaded ({brief(error)})",
                TRUST if has_code and not trust_remote_code else "add tokenizer.json to the folder, or pass tokenizer=",
            ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"tokenizer of '{name or type(tokenizer).__name__}' requested",
            "it is not a fast one, and only those run without transformers",
            "pass a PreTrainedTokenizerFast",
        )
    return tokenizer


def _check_needs_no_sentencepiece(folder: Path, name: str) -> None:
    """Say what is missing, which transformers does not: it goes on to guess at another format."""
    found = [file for file in SENTENCEPIECE if (folder / file).is_file()]
    if found and not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"tokenizer of '{name or folder}' requested",
            f"{found[0]} has to be converted, and sentencepiece is not installed",
            "pip install sentencepiece, or add tokenizer.json to the folder",
        )


def _public_name(name: str) -> str:
    # a folder's own name, not where it lies: the manifest goes to other machines
    return Path(name).resolve().name if Path(name).is_dir() else name


def _source(module: Any, name: str, revision: str | None, new_weights: list[str]) -> dict[str, Any]:
    """What the manifest says of where a model came from; `new_weights` are those that nobody trained."""
    parameters = sum(value.numel() for value in module.parameters())
    return {"name": name, "revision": revision, "new_weights": new_weights, "parameters": parameters}
