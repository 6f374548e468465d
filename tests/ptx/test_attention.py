"""The public interface on device pointers, against independent float64 sums (attention_ref.cpp). Tensors are
allocations with exact ends and unwritten outputs, so a row that is missed or exceeded is a finding."""

from __future__ import annotations

import pytest

# dtype,mechanism,batch,heads,context,head_dim,causal,slopes[,spread of q and k]; where the spread is above 100 or below
# 1e-10 only finite results count. mix-0.25: mechanism mix with 0.25.
CASES = {
    "bf16": ["bf16,ea,1,2,130,64,0,0", "bf16,dpa,1,1,130,64,1,1", "bf16,ea-softmax,1,1,70,40,1,0",
             "bf16,dpa,1,1,33,128,0,1"],
    "f16": ["f16,ea,1,1,70,64,1,1", "f16,dpa,2,1,65,80,0,0"],
    "f32": ["f32,ea,1,2,50,16,1,1", "f32,dpa,1,1,50,8,0,1", "f32,ea-softmax,1,1,40,64,1,0", "f32,dpa,1,1,20,8,1,0,10",
            "f32,ea-parallel,1,2,50,16,1,1,0.5", "f32,square,1,1,40,64,1,0,0.4", "f32,square,1,1,30,16,0,1,9",
            "f32,ea-quartic,1,1,50,8,1,1,0.6", "f32,sigmoid,1,2,50,16,0,1", "f32,sigmoid,1,1,40,8,1,0,5",
            "f32,mix-0.25,1,1,40,8,1,1", "f32,mix-0.5,1,2,50,16,0,1,3", "f32,mix-0.999,1,1,40,64,1,0"],
}
MECHANISMS = ("dpa", "ea", "ea-softmax")
MORE = ("ea-parallel", "square", "ea-quartic", "sigmoid", "mix-0.001", "mix-0.3", "mix-0.999")  # float32 only
SIZES = (1, 3, 17, 63, 64, 65, 127, 128, 129, 257)


def alternating(dtype: str, *, contexts=SIZES, head_dims=(32,), spreads=(None,)) -> list[str]:
    """A case for each combination; mechanism, causality and slopes alternate. By default scores have size 1."""
    mechanisms = (*MECHANISMS, *MORE) if dtype == "f32" else MECHANISMS
    sizes = [(context, head_dim, spread) for context in contexts for head_dim in head_dims for spread in spreads]
    return [f"{dtype},{mechanisms[i % len(mechanisms)]},1,2,{context},{head_dim},{i % 2},{i // 2 % 2},"
            f"{spread or head_dim ** -0.25:.4g}"
            for i, (context, head_dim, spread) in enumerate(sizes)]


def check(right, cases: list[str], **environment) -> str:
    stdout = right("attention_ref", *cases, **environment).stdout
    assert len(stdout.splitlines()) == len(cases) and "BAD" not in stdout, stdout
    return stdout


@pytest.mark.parametrize("dtype", CASES)
def test_forward_and_backward(right, dtype):
    check(right, CASES[dtype])


@pytest.mark.parametrize(("dtype", "head_dim"), [("bf16", 32), ("f16", 20), ("f32", 8)])
def test_contexts(right, dtype, head_dim):
    check(right, alternating(dtype, head_dims=(head_dim,)))


@pytest.mark.parametrize(("dtype", "head_dims"), [
    ("bf16", (1, 3, 8, 17, 40, 65, 96, 128)), ("f16", (1, 17, 65)), ("f32", (1, 2, 7, 17, 33, 65, 100, 128, 200, 256))])
def test_head_dims(right, dtype, head_dims):
    check(right, alternating(dtype, contexts=(19, 37), head_dims=head_dims))


def test_large_and_small_scores(right):
    """Scores beyond fp16's range are only in the other two dtypes."""
    check(right, [*alternating("bf16", contexts=(70,), spreads=(1e-3, 300, 1e9, 3e17) * 3),
                  *alternating("f16", contexts=(70,), spreads=(0.05, 300) * 3),
                  *alternating("f32", contexts=(33,), head_dims=(8,), spreads=(1e-6, 1e-20, 1e9, 3e17) * 3)])


def test_the_same_bits_in_any_order(right):
    cases = ["bf16,ea,1,2,130,64,1,1", "f16,dpa,1,2,130,64,0,0", "f32,ea,2,2,37,20,1,1"]
    first, *others = [check(right, cases, EAB_PTX_SEED=seed) for seed in (0, 1, 2)]
    assert others == [first, first]
