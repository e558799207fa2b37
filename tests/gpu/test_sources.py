"""Every CUDA source compiles: by NVRTC, which needs no GPU."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import pytest

from gpkern.gpu import codegen, fast
from gpkern.kernels import Program


@cache
def nvrtc():
    """The library of the wheel nvidia-cuda-nvrtc-cu12, or None."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    folders = spec.submodule_search_locations if spec else []
    found = [p for f in folders for p in Path(f).glob("lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(found[0])) if found else None


pytestmark = pytest.mark.skipif(
    nvrtc() is None, reason="nvidia-cuda-nvrtc-cu12 is not installed"
)


@cache
def compile_cuda(source, architecture):
    """PTX and machine code of a source; neither errors nor warnings pass."""
    lib, program = nvrtc(), ctypes.c_void_p()
    status = lib.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None
    )
    assert status == 0

    def text(name):
        size = ctypes.c_size_t()
        assert getattr(lib, f"nvrtcGet{name}Size")(program, ctypes.byref(size)) == 0
        buffer = ctypes.create_string_buffer(size.value)
        assert getattr(lib, f"nvrtcGet{name}")(program, buffer) == 0
        return buffer.raw.rstrip(b"\0")

    try:
        options = [f"--gpu-architecture={architecture}".encode(), b"-std=c++17"]
        options.append(b"-default-device")  # as gpkern.gpu.compiler has it
        array = (ctypes.c_char_p * len(options))(*options)
        status = lib.nvrtcCompileProgram(program, len(options), array)
        log = text("ProgramLog").decode()
        assert status == 0 and not log, f"{log}\n{source}"
        return text("PTX"), text("CUBIN")
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def sources(case, dtype):
    """What an operator may compile: leaves from differences, and from products."""
    program = Program.of(case.make(4), 4)
    for one in (program, program.log) if case.positive else (program,):
        leaves = one.pair_leaves
        product = ("dot", "sqeuclidean")
        for kinds in {
            ("direct",) * len(leaves),
            tuple("product" if v.metric in product else "direct" for v in leaves),
        }:
            yield codegen.tile_source(one, dtype, kinds)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiles(case, dtype, architecture):
    program = Program.of(case.make(4), 4)
    kinds = ("direct",) * len(program.pair_leaves)
    others = (
        codegen.tile_source(program, dtype, kinds, grouped=True),
        codegen.product_source(program, dtype, kinds, 3),
        codegen.row_sums_source(program, dtype, kinds, 3),
        "#define THREADS 256\n" + codegen.greedy_source(program, dtype),
    )
    for source in (*sources(case, dtype), *others):
        _, cubin = compile_cuda(source, architecture)
        assert len(cubin) > 0


def test_float32_works_in_float32(case):
    """A double hidden in a formula would run at a fraction of the speed."""
    for source in sources(case, "float32"):
        # CUDA's own sine does it, and Matern's integral is meant to.
        if "sin(" not in source and "matern(p" not in source:
            ptx, _ = compile_cuda(source, "sm_90")
            assert b".f64" not in ptx


def test_fast_functions_compile(case):
    """The element functions of the fused kernels, one value a thread."""
    program = Program.of(case.make(4), 4)
    for one in (program, program.log) if case.positive else (program,):
        form = fast.lowered(one, 4)
        header = fast.element(one, form, codegen._header())
        leaves = len(one.pair_leaves + one.row_leaves)
        values = [f"s[{i}]" for i in range(leaves)]
        values += [f"p[{i}]" for i in range(len(form.params))]
        source = f"""{header}
extern "C" __global__ void values(const float* s, const float* p, float* out) {{
  *out = element({", ".join(values)});
}}"""
        ptx, _ = compile_cuda(source, "sm_90")
        if "sinf(" not in source and "matern(p" not in source:
            assert b".f64" not in ptx


def test_an_error_is_seen():
    with pytest.raises(AssertionError, match="nonsense"):
        compile_cuda("__global__ void f() { nonsense(); }", "sm_80")
