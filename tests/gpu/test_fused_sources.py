"""The fused kernels: sources compile, plans fit the card, formulas keep values."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from gpkern.gpu import fast, plans, sources
from gpkern.gpu.angular import simplified
from gpkern.kernels import (
    NTK,
    RBF,
    Cosine,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Polynomial,
    Program,
    RationalQuadratic,
    SteinKernel,
)

_spec = importlib.util.spec_from_file_location(
    "cuda_sources", Path(__file__).with_name("test_sources.py")
)
_sources = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_sources)
compile_cuda, needs_nvrtc = _sources.compile_cuda, _sources.pytestmark

# Shared memory that a block may have.
SHARED = {80: 166_912, 86: 101_376, 90: 232_448}


def completed(program, d, outputs, capability, store=0, dtype="float32", **wanted):
    """Text and plan of a reduction as it would be launched."""
    kind = plans.kind_of(program, d, capability, dtype)
    leaves, logsumexp = len(program.pair_leaves), wanted.get("logsumexp", False)
    options = {"parts": 2, "logsumexp": False, "exact": False} | wanted
    options["shared_limit"] = SHARED[capability]
    if kind == "direct":
        dim = d * leaves + len(program.row_leaves)
        plan = plans.plan_direct(dim, outputs, logsumexp, dtype)
    elif kind == "wide":
        plan = plans.plan_wide(leaves, outputs, logsumexp, dtype)
    else:
        plan = plans.plan(kind, d, outputs, **options)
    macros = plan.macros | {"DIAGONAL": 1, "STORE": store}
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    form = fast.lowered(program, d)
    text = sources.reduction(kind, program, form, d, plan.columns, dtype)
    return "\n".join([*lines, text]), plan


@needs_nvrtc
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("d", [20, 100])
@pytest.mark.parametrize(
    "wanted",
    [
        {"outputs": 10, "parts": 1},
        {"outputs": 10, "store": 1},
        {"outputs": 10, "exact": True},
        {"outputs": 1, "exact": True},
        {"outputs": 1, "logsumexp": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", [Matern(2.0, nu=1.5), NTK(3)], ids=str)
def test_products_compile(kernel, wanted, d, capability):
    program = simplified(Program.of(kernel, d), wanted.get("parts", 2))
    if isinstance(kernel, NTK) and not wanted.get("exact"):
        pytest.skip("angles near 0 are always computed again")
    if wanted.get("logsumexp"):
        program = program.log
    wanted = dict(wanted)
    text, _ = completed(program, d, wanted.pop("outputs"), capability, **wanted)
    _, cubin = compile_cuda(text, "sm_80" if capability == 80 else "sm_90a")
    assert len(cubin) > 0


@needs_nvrtc
def test_formulas_compile(case):
    """Few columns, where every formula may be fused, in both precisions."""
    program = Program.of(case.make(2), 2)
    cases = [(program, "float64", False)]
    if case.positive:
        cases.append((program.log, "float32", True))
    for one, dtype, logsumexp in cases:
        if plans.kind_of(one, 2, 80, dtype) == "direct":
            text, _ = completed(one, 2, 1, 80, dtype=dtype, logsumexp=logsumexp)
            assert len(compile_cuda(text, "sm_80")[1]) > 0


@needs_nvrtc
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs, logsumexp", [(1, False), (8, False), (1, True)])
@pytest.mark.parametrize(
    "kernel",
    [
        Laplacian(3.0),
        RBF([1.0] * 20) + RBF([2.0] * 20) * Laplacian(2.0),
        Cosine() * RBF([3.0] * 20),
        SteinKernel(InverseMultiquadric(2.0), 10),
        NTK(2, "gelu") + Laplacian(2.0),
    ],
    ids=["L1", "three leaves", "with norms", "points and scores", "angles"],
)
def test_ordinary_arithmetic_compiles(kernel, outputs, logsumexp, dtype):
    program = Program.of(kernel, 20)
    program = program.log if logsumexp else program
    options = {"dtype": dtype, "logsumexp": logsumexp}
    d = program.width(20)
    text, plan = completed(program, d, outputs, 80, **options)
    assert plan.kind == "wide"
    assert len(compile_cuda(text, "sm_80")[1]) > 0


@needs_nvrtc
@pytest.mark.parametrize(
    "name, macros", [("pack", "KS=32 PARTS=2 S=float"), ("operands", "T=double")]
)
def test_helpers_compile(name, macros):
    lines = [f"#define {m.replace('=', ' ')}" for m in macros.split()]
    text = "\n".join([*lines, sources.complete(f"{name}.cu")])
    assert len(compile_cuda(text, "sm_80")[1]) > 0


class TestPlans:
    @pytest.mark.parametrize("capability", [80, 86, 90])
    @pytest.mark.parametrize("d", [1, 3, 8, 9, 16, 17, 33, 64, 100, 784, 5000])
    @pytest.mark.parametrize("outputs", [1, 3, 8, 10, 20, 32, 64])
    @pytest.mark.parametrize("parts", [1, 2])
    def test_fit_the_card(self, capability, d, outputs, parts):
        program = Program.of(RBF(1.0))
        kind = plans.kind_of(program, d, capability)
        if kind == "direct":
            p = plans.plan_direct(d, outputs, False)
            numbers = 2 * (d + p.macros["C"]) * p.columns
            assert 4 * numbers <= 48 << 10
            return
        outputs = min(outputs, plans.most_outputs(kind, SHARED[capability]))
        for exact in (False, True):
            p = plans.plan(kind, d, outputs, parts, False, exact, SHARED[capability])
            assert p.shared_bytes <= SHARED[capability]
            assert p.macros.get("STAGES", 2) >= 2
            assert plans.PADDING % p.rows == 0
            assert plans.PADDING % p.columns == 0
            assert p.threads % 32 == 0 and p.threads <= 1024

    def test_kinds(self):
        def kind(kernel, d, capability=90):
            return plans.kind_of(Program.of(kernel), d, capability)

        assert kind(RBF(1.0), 3) == "direct"
        assert kind(RBF(1.0), 20) == "mma"
        assert kind(RBF(1.0), 100) == "wgmma"
        assert kind(RBF(1.0), 100, 89) == "mma"
        assert kind(RBF(1.0), 100, 75) is None  # older cards: tiles
        assert kind(Laplacian(1.0), 3) == "direct"
        assert kind(Laplacian(1.0), 784) == "wide"  # no inner product
        assert kind(Matern(1.0, nu=0.7), 20) is None
        two_scales = RBF([1.0] * 20) + RBF([2.0] * 20)
        assert kind(two_scales, 20) == "wide"
        one = Program.of(RBF(1.0))
        assert plans.kind_of(one, 20, 90, "float64") == "wide"
        assert plans.kind_of(one, 784, 90, "float64") is None  # tiles by cuBLAS
        assert plans.kind_of(one, 20, 90, "float32", "highest") == "wide"

    @pytest.mark.parametrize("row_blocks", [1, 2, 131, 132, 133, 512, 5000])
    @pytest.mark.parametrize("tiles", [1, 2, 7, 512, 100_000])
    def test_splits_cover_all_tiles(self, row_blocks, tiles):
        count, each = plans.splits(row_blocks, tiles, 2, 132)
        assert (count - 1) * each < tiles <= count * each
        if tiles > 1000:
            assert row_blocks * count >= 132  # no multiprocessor idles

    def test_slope(self):
        assert plans.slope(Program.of(RBF(2.0))) == pytest.approx(1 / 8)
        assert plans.slope(Program.of(RBF(2.0)).log) == pytest.approx(1 / 8)
        assert plans.slope(Program.of(Matern(2.0, nu=0.5))) == math.inf


def run(statements, params, s):
    """Value of simplified statements, by NumPy."""
    values = {"s0": s} | {f"p{i}": p for i, p in enumerate(params)}
    functions = {
        "add": np.add,
        "mul": np.multiply,
        "recip": np.reciprocal,
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "exp": np.exp,
        "exp2": np.exp2,
        "log": np.log,
        "log1p": np.log1p,
        "sqrt": np.sqrt,
        "neg": np.negative,
        "same": np.positive,
    }
    for target, op, operands in statements:
        arguments = [values[t] if t in values else float(t) for t in operands]
        values[target] = functions[op](*arguments)
    return values[statements[-1][0]]


@pytest.mark.parametrize(
    "kernel",
    [
        RBF(1.3),
        Matern(1.3, nu=0.5),
        Matern(1.3, nu=2.5),
        RationalQuadratic(1.3, alpha=0.7),
        InverseMultiquadric(1.3),
        2.0 * RBF(1.3) + Matern(2.0, nu=1.5) ** 2,
    ],
    ids=str,
)
def test_simplified_formulas_keep_their_values(kernel):
    X = np.linspace(0.1, 4, 9)[:, None]
    s = (X[:, 0] - 0.0) ** 2
    program = Program.of(kernel)
    statements, params = fast.simplified(program)
    expected = kernel(X, [[0.0]])[:, 0]
    np.testing.assert_allclose(run(statements, params, s), expected, rtol=1e-12)
    form = fast.lowered(program, 1)
    folded = run(form.statements, form.params, form.fold * s)
    np.testing.assert_allclose(folded, expected, rtol=1e-12)
    # No natural exponential of a product, and no reciprocal of a root, is left.
    ops = [op for _, op, _ in statements]
    assert "exp" not in ops and not ("recip" in ops and "sqrt" in ops)


@pytest.mark.parametrize("kernel", [Polynomial(3, 1.0, 1.0), Cosine()], ids=str)
def test_inner_products_say_so(kernel):
    program = Program.of(kernel)
    text = sources.reduction("mma", program, fast.lowered(program, 20), 20, 128)
    assert "#define DOT 1" in text


def test_a_number_is_folded_where_it_is_safe():
    def form(kernel, d=3):
        return fast.lowered(Program.of(kernel), d)

    assert form(RBF(2.0)).sign == -1
    assert form(RBF(2.0)).fold == pytest.approx(math.log2(math.e) / 8)
    assert form(Matern(2.0, nu=0.5)).fold == pytest.approx(math.log2(math.e) ** 2 / 4)
    assert form(Matern(2.0, nu=1.5)).sign == 0  # it stands in two places
    # Squares of the largest float32 data would overflow; or two leaves share it.
    assert form(RBF(1e-4)).sign == 0
    assert form(RBF(1e-2), 100).sign == -1 and form(RBF(1e-2), 100_000).sign == 0
    assert form(RBF([1.0, 2.0, 3.0]) + RBF(1.0)).sign == 0
