from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from ortolan import ConfigError
from ortolan.config import BatchConfig, SessionConfig


@pytest.mark.parametrize("num_threads", [0, -1, "2", 1.5], ids=["zero", "negative", "string", "fraction"])
def test_a_number_of_threads_that_makes_no_sense_is_refused(num_threads: Any):
    with pytest.raises(ConfigError, match="num_threads requested, got"):
        SessionConfig(num_threads=num_threads)


def test_a_negative_device_is_refused():
    with pytest.raises(ConfigError) as caught:
        SessionConfig(device_id=-1)
    assert str(caught.value) == "device_id requested, got -1; use 0 or more"


def test_options_of_a_provider_need_its_name():
    with pytest.raises(ConfigError) as caught:
        SessionConfig(provider_options={"stream": 1})
    assert str(caught.value) == (
        "provider_options {'stream': 1} requested, provider is 'auto', and each provider has options of its own; "
        "name the provider"
    )


@pytest.mark.parametrize("field", ["max_batch_size", "max_batch_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "8", True, None], ids=repr)
def test_a_batch_limit_that_is_no_whole_number_from_one_on_is_refused(field: str, value: object):
    options: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError) as caught:
        BatchConfig(**options)
    assert str(caught.value) == f"{field} requested, got {value!r}; use a whole number from 1 on"


@pytest.mark.parametrize("config", [SessionConfig(), BatchConfig()], ids=["session", "batch"])
def test_settings_cannot_be_changed(config: SessionConfig | BatchConfig):
    field = type(config).__dataclass_fields__.copy().popitem()[0]
    with pytest.raises(FrozenInstanceError):
        setattr(config, field, 1)
