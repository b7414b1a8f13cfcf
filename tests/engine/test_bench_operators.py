import json
from pathlib import Path

import pytest

from ortolan.bench.operators import by_group, group_of, limit_of, work_of
from ortolan.bench.records import Work
from ortolan.errors import SessionError
from ortolan.session import profile
from ortolan.session.profile import NodeRun, read_profile


def node(operator: str, inputs: list[tuple[int, ...]], output: tuple[int, ...], ms: float = 1.0) -> NodeRun:
    return NodeRun(0, operator, ms, tuple(inputs), (output,))


PACKED = node("MatMul", [(3, 9, 384)], (3, 9, 1536))
UNPACKED = node("MatMul", [(3, 9, 384), (384, 1536)], (3, 9, 1536))
SCORES = node("FusedMatMul", [(3, 12, 9, 32), (3, 12, 32, 9)], (3, 12, 9, 9))
INT8 = node("MatMulIntegerToFloat", [(3, 9, 384), (), (1536,)], (3, 9, 1536))


@pytest.mark.parametrize(
    ("run", "group"),
    [
        pytest.param(PACKED, "products in fp32", id="weights packed beforehand"),
        pytest.param(UNPACKED, "products in fp32", id="weights as an input"),
        pytest.param(SCORES, "attention", id="a product of two values"),
        pytest.param(INT8, "products in int8", id="int8"),
        pytest.param(node("MultiHeadAttention", [(1, 2, 4)] * 3, (1, 2, 4)), "attention", id="fused attention"),
        pytest.param(node("DynamicQuantizeLinear", [(1, 2)], (1, 2)), "quantizing", id="quantizing"),
        pytest.param(node("Frobnicate", [], ()), "other operators", id="one that nobody knows"),
    ],
)
def test_a_node_has_the_group_of_what_it_is_for(run: NodeRun, group: str):
    assert group_of(run) == group


@pytest.mark.parametrize(
    ("run", "work"),
    [
        pytest.param(PACKED, Work(flops=2 * 27 * 384 * 1536, bytes=4 * 384 * 1536), id="packed"),
        pytest.param(UNPACKED, Work(flops=2 * 27 * 384 * 1536, bytes=4 * 384 * 1536), id="not packed"),
        pytest.param(INT8, Work(flops=2 * 27 * 384 * 1536, bytes=384 * 1536), id="int8"),
        pytest.param(SCORES, Work(flops=0, bytes=0), id="no weights"),
        pytest.param(node("Gelu", [(3, 9)], (3, 9)), Work(flops=0, bytes=0), id="no product"),
        pytest.param(NodeRun(0, "MatMul", 1.0, (), ()), Work(flops=0, bytes=0), id="no shapes"),
    ],
)
def test_work_is_that_of_products_with_weights(run: NodeRun, work: Work):
    assert work_of(run) == work


def test_groups_are_those_of_one_pass_the_longest_first():
    found = by_group([node("Gelu", [(1,)], (1,), 1.0), PACKED, node("Erf", [(1,)], (1,), 4.0), PACKED], passes=2)
    assert [(one.group, one.milliseconds, one.operators) for one in found] == [
        ("activations", 2.5, ("Gelu", "Erf")),
        ("products in fp32", 1.0, ("MatMul",)),
    ]
    assert found[1].work == work_of(PACKED)


def test_a_limit_holds_for_products_alone():
    assert limit_of("products in int8") == "int8 product"
    assert limit_of("attention") is None


def event(name: str = "query_kernel_time", **changes: object) -> dict[str, object]:
    args = {
        "op_name": "MatMul",
        "node_index": "7",
        "input_type_shape": [{"float": [3, 9, 384]}, {"float": []}],
        "output_type_shape": [{"float": [3, 9, 8]}],
    }
    return {"cat": "Node", "name": name, "dur": 1500, "args": {**args, **changes}}


def test_a_profile_is_read_as_far_as_it_tells_of_nodes(tmp_path: Path):
    path = tmp_path / "profile.json"
    events = [{"cat": "Session", "name": "model_run", "dur": 9}, event("query_fence_before"), event()]
    path.write_text(json.dumps(events))
    assert read_profile(path) == [NodeRun(7, "MatMul", 1.5, ((3, 9, 384), ()), ((3, 9, 8),))]


@pytest.mark.parametrize("content", ["", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]', "[" * 100_000])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str):
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(SessionError, match="none that can be read"):
        read_profile(tmp_path / "profile.json")


def test_a_profile_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "profile.json").write_text("[]")
    monkeypatch.setattr(profile, "MAX_BYTES", 1)
    with pytest.raises(SessionError, match="profile fewer runs"):
        read_profile(tmp_path / "profile.json")
