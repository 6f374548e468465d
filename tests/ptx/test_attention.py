"""The public interface on device pointers, against float64 sums of their own (attention_ref.cpp)."""

from __future__ import annotations

import pytest

# dtype,mechanism,batch,heads,context,head_dim,causal,slopes[,spread of q and k]
CASES = {
    "bf16": ["bf16,ea,1,2,130,64,0,0", "bf16,dpa,1,1,130,64,1,1", "bf16,ea-softmax,1,1,70,40,1,0",
             "bf16,dpa,1,1,33,128,0,1"],
    "f16": ["f16,ea,1,1,70,64,1,1", "f16,dpa,2,1,65,80,0,0"],
    "f32": ["f32,ea,1,2,50,16,1,1", "f32,dpa,1,1,50,8,0,1", "f32,ea-softmax,1,1,40,64,1,0", "f32,dpa,1,1,20,8,1,0,10"],
}


@pytest.mark.parametrize("dtype", CASES)
def test_forward_and_backward(right, dtype):
    assert "BAD" not in right("attention_ref", *CASES[dtype]).stdout
