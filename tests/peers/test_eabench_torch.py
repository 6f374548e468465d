"""eabench's attention in PyTorch: values and gradients against autograd in float64, strides, threads, errors."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from peers import eabench_torch
from peers.config import default_scale
from peers.eabench_torch import MECHANISMS, EabenchError, attention
from peers.model_torch import attend

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}


def draw(*shape: int, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).to(device, dtype).requires_grad_() for _ in range(3)]


def expected(q, k, v, mechanism, causal=True, slopes=None, scale=None):
    """In float64, with its gradients for dout = sin(0, 1, 2, ...)."""
    q, k, v = (x.detach().double().requires_grad_() for x in (q, k, v))
    time = torch.arange(q.shape[-2], device=q.device)
    distance = (time[:, None] - time).abs()
    bias = None
    if slopes is not None:
        bias = -torch.tensor(slopes, dtype=torch.float64, device=q.device)[:, None, None] * distance
    out = attend(q, k, v, mechanism, scale or default_scale(mechanism, q.shape[-1]), bias, causal)
    out.backward(weight_of(out))
    return [out.detach(), q.grad, k.grad, v.grad]


def weight_of(out: torch.Tensor) -> torch.Tensor:
    return torch.arange(out.numel(), device=out.device).double().sin().view(out.shape).to(out.dtype)


def found(q, k, v, *arguments, **options):
    out = attention(q, k, v, *arguments, **options)
    gradients = torch.autograd.grad(out, (q, k, v), weight_of(out))
    return [out.detach(), *gradients]


def assert_near(results, references, tolerance):
    for name, result, reference in zip(("out", "dq", "dk", "dv"), results, references):
        error = (result.double() - reference).norm() / reference.norm()
        assert error < tolerance, f"{name}: {error:.3g}"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 33, 16), (1, 2, 65, 40), (1, 1, 1, 8), (3, 1, 128, 64)])
def test_values_and_gradients(device, mechanism, causal, shape):
    q, k, v = draw(*shape, device=device)
    slopes = [2.0 ** -(1 + head) for head in range(shape[1])]
    for options in ({}, {"slopes": slopes}, {"scale": 0.3}):
        if shape[2] == 1:  # one key: the gradients of q and k are 0
            torch.testing.assert_close(attention(q, k, v, mechanism, causal=causal, **options), v, rtol=1e-5, atol=1e-6)
        else:
            assert_near(found(q, k, v, mechanism, causal=causal, **options),
                        expected(q, k, v, mechanism, causal, **options), TOLERANCE[torch.float32])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_half_types(dtype, mechanism):
    q, k, v = draw(2, 3, 130, 64, device="cuda", dtype=dtype)
    assert_near(found(q, k, v, mechanism), expected(q, k, v, mechanism), TOLERANCE[dtype])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_current_stream():
    """The kernels run after the stream's earlier work and before its later work."""
    q, k, v = draw(4, 8, 512, 64, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # noqa: SLF001
        doubled = (2 * q.detach()).requires_grad_()
        results = found(doubled, k, v, "ea")
        copies = [result.clone() for result in results]
    stream.synchronize()
    assert_near(copies, expected(doubled, k, v, "ea"), TOLERANCE[torch.float32])


@pytest.mark.filterwarnings("ignore:Input #.*double precision")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_gradcheck(mechanism):
    """Finite differences of the float64 reference; float32 arguments limit their step."""
    q, k, v = draw(1, 2, 7, 4)

    def function(*arguments):
        return attention(*arguments, mechanism, backend="reference", slopes=[0.5, 0.1])

    assert torch.autograd.gradcheck(function, (q, k, v), eps=1e-3, atol=2e-3, rtol=2e-3, nondet_tol=0, fast_mode=False)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_reference_is_exact(mechanism):
    q, k, v = draw(2, 2, 19, 8)
    assert_near(found(q, k, v, mechanism, backend="reference"), expected(q, k, v, mechanism), 1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_strides(device):
    """As in a model: heads are slices of one projection, and gradients are broadcast."""
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(2, 21, 3, 4, 8, generator=generator).to(device).requires_grad_()
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    assert not q.is_contiguous()
    out = attention(q, k, v, "ea")
    out.sum().backward()  # the gradient is an expanded scalar
    whole = [x.detach().contiguous().requires_grad_() for x in (q, k, v)]
    result = attention(*whole, "ea")
    gradients = torch.autograd.grad(result, whole, torch.ones_like(result))
    assert torch.equal(out, result)
    for part, gradient in zip(qkv.grad.permute(2, 0, 3, 1, 4), gradients):
        assert torch.equal(part, gradient)


def test_other_ranks():
    q, k, v = draw(2, 3, 4, 9, 8)
    out = attention(q, k, v, "ea", slopes=[0.1, 0.2, 0.3, 0.4])
    assert out.shape == q.shape
    assert torch.equal(out[1, 2], attention(q[1, 2], k[1, 2], v[1, 2], "ea", slopes=[0.1, 0.2, 0.3, 0.4]))
    assert torch.equal(attention(q[0, 0, 0], k[0, 0, 0], v[0, 0, 0]), attention(q, k, v)[0, 0, 0])


def test_gradients_of_some_arguments():
    q, k, v = draw(1, 2, 9, 8)
    (dk,) = torch.autograd.grad(attention(q.detach(), k, v.detach(), "ea").sum(), k)
    assert torch.equal(dk, torch.autograd.grad(attention(q, k, v, "ea").sum(), k)[0])
    with torch.no_grad():
        assert not attention(q, k, v).requires_grad


def test_a_second_derivative_is_refused():
    q, k, v = draw(1, 1, 5, 4)
    (dq,) = torch.autograd.grad(attention(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


def test_threads():
    """Each thread opens its own devices, so results do not depend on other threads."""
    problems = [draw(2, 2, 40, 16, seed=seed) for seed in range(8)]
    alone = [found(*problem, "ea") for problem in problems]
    wrong = []

    def work(i):
        for _ in range(20):
            if not all(map(torch.equal, found(*problems[i], "ea"), alone[i])):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_trains():
    """An optimizer lowers the loss of a model that uses the function."""
    torch.manual_seed(1)
    maps = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
    x, y = torch.randn(4, 12, 16), torch.randn(4, 12, 16)
    optimizer = torch.optim.Adam([p for m in maps for p in m.parameters()], lr=1e-2)
    losses = []
    for _ in range(60):
        q, k, v = maps[0](x).view(4, 12, 3, 2, 8).permute(2, 0, 3, 1, 4)
        loss = (maps[1](attention(q, k, v, "ea").transpose(1, 2).reshape(4, 12, 16)) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(("change", "says"), [
    (lambda q, k, v: attention(q, k[..., :4], v), "k is"),
    (lambda q, k, v: attention(q, k, v.double()), "v is torch.float64"),
    (lambda q, k, v: attention(q.double(), k.double(), v.double()), "dtype torch.float64; allowed"),
    (lambda q, k, v: attention(q, k, v, "eaa"), "allowed: dpa, ea"),
    (lambda q, k, v: attention(q, k, v, scale=-1), "above 0"),
    (lambda q, k, v: attention(q, k, v, slopes=[1.0]), "1 slopes for 2 heads"),
    (lambda q, k, v: attention(q, k, v, backend="cuda"), "allowed: cpu, reference"),
    (lambda q, k, v: attention(q[:0], k[:0], v[:0]), "sizes above 0"),
    (lambda q, k, v: attention(q.to("meta"), k.to("meta"), v.to("meta")), "device meta"),
])
def test_errors(change, says):
    with pytest.raises(ValueError, match=says):
        change(*draw(1, 2, 5, 8))


def test_the_library_s_errors():
    with pytest.raises(EabenchError, match="head_dim = 300; allowed: 1..256"):
        attention(*draw(1, 1, 3, 300))
    with pytest.raises(EabenchError, match="cpu"):
        attention(*(x.half() for x in draw(1, 1, 3, 8)))
    with pytest.raises(EabenchError, match="slopes"):
        attention(*draw(1, 1, 3, 8), slopes=[-1.0])


def test_no_library():
    code = ("import torch, eabench_torch as e\n"
            "try: e.attention(*[torch.zeros(1, 1, 2, 4)] * 3)\nexcept e.EabenchError as x: print(x)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"EABENCH_LIBRARY": "/nowhere/libeabench.so",
                               "PYTHONPATH": eabench_torch.__file__.rsplit("/", 1)[0]})
    assert "set EABENCH_LIBRARY" in done.stdout and "/nowhere/libeabench.so" in done.stdout
