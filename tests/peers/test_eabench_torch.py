"""eabench's attention in PyTorch: values and gradients against autograd in float64, strides, threads, errors."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from peers.config import default_scale
from peers.model_torch import attend

import eabench_torch
from eabench_torch import MECHANISMS, EabenchError, attention

SHARE = 0.3   # of mechanism mix
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
    out = attend(q, k, v, f"mix-{SHARE}" if mechanism == "mix" else mechanism,
                 scale or default_scale(mechanism, q.shape[-1]), bias, causal)
    out.backward(weight_of(out))
    return [out.detach(), q.grad, k.grad, v.grad]


def weight_of(out: torch.Tensor) -> torch.Tensor:
    return torch.arange(out.numel(), device=out.device).double().sin().view(out.shape).to(out.dtype)


def attend_with(q, k, v, mechanism, **options):
    return attention(q, k, v, mechanism, mix=SHARE if mechanism == "mix" else None, **options)


def found(q, k, v, *arguments, **options):
    out = attend_with(q, k, v, *arguments, **options)
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
            out = attend_with(q, k, v, mechanism, causal=causal, **options)
            torch.testing.assert_close(out, v, rtol=1e-5, atol=1e-6)
        else:
            assert_near(found(q, k, v, mechanism, causal=causal, **options),
                        expected(q, k, v, mechanism, causal, **options), TOLERANCE[torch.float32])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mechanism", MECHANISMS[:4])
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
        return attend_with(*arguments, mechanism, backend="reference", slopes=[0.5, 0.1])

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
    (lambda q, k, v: attention(q, k, v, None), "mechanism None; allowed: dpa, ea"),
    (lambda q, k, v: attention(q.tolist(), k, v), "q is a list; allowed: a tensor"),
    (lambda q, k, v: attention(q, k, v, causal="no"), "causal is 'no'; allowed: True, False"),
    (lambda q, k, v: attention(q, k, v, scale=-1), "above 0"),
    (lambda q, k, v: attention(q, k, v, scale=0.0), "above 0"),
    (lambda q, k, v: attention(q, k, v, scale=1e-50), "scale 1e-50, in float32 0.0; allowed: finite and above 0"),
    (lambda q, k, v: attention(q, k, v, scale=float("nan")), "above 0"),
    (lambda q, k, v: attention(q, k, v, scale=1e50), "in float32 inf"),
    (lambda q, k, v: attention(q, k, v, scale="1"), "scale is '1'; allowed: a number"),
    (lambda q, k, v: attention(q, k, v, scale=[0.5]), "scale is .0.5.; allowed: a number"),
    (lambda q, k, v: attention(q, k, v, scale=torch.tensor(0.5, requires_grad=True)), "scale requires a gradient"),
    (lambda q, k, v: attention(q, k, v, "mix"), "mechanism 'mix' with mix = None; allowed: 0.001..0.999"),
    (lambda q, k, v: attention(q, k, v, "mix", mix=1), "mechanism 'mix' with mix = 1; allowed: 0.001..0.999"),
    (lambda q, k, v: attention(q, k, v, "mix", mix=float("nan")), "with mix = nan; allowed: 0.001..0.999"),
    (lambda q, k, v: attention(q, k, v, "ea", mix=0.5), "mix = 0.5 with mechanism 'ea'; allowed: mechanism 'mix'"),
    (lambda q, k, v: attention(q, k, v, slopes=0.5), "slopes is 0.5; allowed: 2 numbers, one a head"),
    (lambda q, k, v: attention(q, k, v, slopes=torch.tensor(0.5)), "2 numbers, one a head"),
    (lambda q, k, v: attention(q, k, v, slopes=torch.ones(2, 2)), "slopes is .*; allowed: a number"),
    (lambda q, k, v: attention(q, k, v, slopes=[0.5, -1.0]), "slopes holds -1.0; allowed: finite, at least 0"),
    (lambda q, k, v: attention(q, k, v, slopes=torch.ones(2, requires_grad=True)), "slopes requires a gradient"),
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


def test_no_library():
    code = ("import torch, eabench_torch as e\n"
            "try: e.attention(*[torch.zeros(1, 1, 2, 4)] * 3)\nexcept e.EabenchError as x: print(x)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"EABENCH_LIBRARY": "/nowhere/libeabench.so",
                               "PYTHONPATH": str(Path(eabench_torch.__file__).parent)})
    assert "set EABENCH_LIBRARY" in done.stdout and "/nowhere/libeabench.so" in done.stdout


def test_constants_may_be_tensors():
    q, k, v = draw(1, 2, 9, 8)
    assert torch.equal(attention(q, k, v, scale=torch.tensor(0.5), slopes=torch.tensor([0.1, 0.2])),
                       attention(q, k, v, scale=0.5, slopes=[0.1, 0.2]))


@pytest.mark.parametrize("device", DEVICES)
def test_under_autocast(device):
    """A model's linear maps give bfloat16 there, its norms float32."""
    q, k, v = draw(2, 2, 33, 16, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        out = attention(q.bfloat16(), k, v.bfloat16(), "ea")
        out.float().sum().backward()
    assert out.dtype == (torch.float32 if device == "cpu" else torch.bfloat16)
    assert q.grad.dtype == torch.float32 and q.grad.isfinite().all()
    near = expected(q.bfloat16(), k, v.bfloat16(), "ea")[0]
    assert (out.double() - near).norm() / near.norm() < (1e-6 if device == "cpu" else TOLERANCE[torch.bfloat16])


def test_in_a_compiled_model():
    """With scripts/ and its folder peers on the path, as in this test: no module there hides one of Python's."""
    peers = Path(sys.modules["peers"].__file__).parent
    hidden = {path.stem for path in peers.glob("*.py")} & set(sys.stdlib_module_names)
    assert not hidden - {"__init__"}
    q, k, v = draw(1, 2, 9, 8)

    @torch.compile(backend="eager")
    def model(x):
        return attention(2 * x, k, v, "ea") + 1

    assert torch.equal(model(q), attention(2 * q, k, v, "ea") + 1)


def test_installed(tmp_path):
    """pip installs the module alone; it then finds the library by EABENCH_LIBRARY."""
    source = tmp_path / "source"  # pip leaves its work beside the sources
    shutil.copytree(Path(eabench_torch.__file__).parent, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--no-build-isolation", "--target", tmp_path / "site", source], check=True, cwd=tmp_path)
    code = ("import torch, eabench_torch as e\n"
            "print(e.__file__, e.attention(*[torch.ones(1, 1, 2, 4)] * 3).sum().round().item())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env={"EABENCH_LIBRARY": eabench_torch.library()._name,  # noqa: SLF001
                               "PYTHONPATH": str(tmp_path / "site")})
    assert done.stdout.split() == [str(tmp_path / "site" / "eabench_torch.py"), "8.0"]
