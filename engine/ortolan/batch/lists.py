"""How a list of texts is split into batches: a pure decision, without clock or thread."""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, max_batch_size: int, max_batch_tokens: int) -> list[list[int]]:
    """Group waiting encodings so that little is spent on padding.

    Sorted by length, neighbours share a batch until it is full. A batch is full when one more row would exceed
    `max_batch_size` rows or `max_batch_tokens` tokens, padding counted; a row longer than the budget runs alone.

    Args:
        lengths: Tokens of each waiting encoding.
        max_batch_size: Most rows of a batch, at least 1.
        max_batch_tokens: Most tokens of a batch, rows times longest row.

    Returns:
        Positions in `lengths`, grouped; every position once, the longest rows first.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and _has_room(batches[-1], lengths, max_batch_size, max_batch_tokens):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _has_room(batch: list[int], lengths: Sequence[int], max_batch_size: int, max_batch_tokens: int) -> bool:
    width = lengths[batch[0]]  # sorted longest first, so the first row is as wide as the batch
    return len(batch) < max_batch_size and (len(batch) + 1) * width <= max_batch_tokens
