"""Kernel formula -> CUDA C++."""

from __future__ import annotations

from functools import lru_cache

from .sources import complete, read

_OPS = {
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "recip": "T(1) / {0}",
    "absolute": "fabs({0})",
    "angle": "atan2({0}, {1})",
    "ratio": "gk_ratio({0}, {1})",
    "matern": "gk_matern({0}, {1})",
    "log_matern": "gk_log_matern({0}, {1})",
    **{f: f"{f}({{0}})" for f in ("sqrt", "exp", "log", "log1p", "sin", "cos", "tanh")},
}
# One column's term of a quantity computed from differences.
_TERMS = {
    "sqeuclidean": "(a - b) * (a - b)",
    "unit_sqdist": "(a - b) * (a - b)",
    "unit_sqsum": "(a + b) * (a + b)",
    "l1": "abs(a - b)",
    "dot": "a * b",
    "chi2": "(a - b) * (a - b) / (a + b + T(1e-30))",
}
# Rare, so apart: what is inside of a loop takes its registers.
_AGAIN = """
// |x + side z|^2 of two rows, from their entries.
__device__ __noinline__ T gk_again(const T* x, const T* z, int side, int d) {
  const T sign = side;
  T s = 0;
  for (int k = 0; k < d; ++k) {
    const T t = x[k] + sign * z[k];
    s += t * t;
  }
  return s;
}
"""
# A distance of rows of norm 1 is recomputed below this share of the norms: its root,
# an angle, is what the formula takes.
UNIT_CLOSE = "T(1e-2)"
CTYPES = {"float32": "float", "float64": "double"}
# Rows of a warp of `product_source`: V is read once for all of them.
PRODUCT_ROWS = 2


def _token(token):
    return token if token[0] in "spt" else f"T({token})"


def element(program):
    """``__device__ T element(...)`` of a program."""
    args = [f"T s{i}" for i in range(len(program.pair_leaves + program.row_leaves))]
    args += [f"T p{i}" for i in range(len(program.params))]
    lines = [
        f"  const T {target} = {_OPS[op].format(*map(_token, operands))};"
        for target, op, operands in program.statements
    ]
    body = "\n".join([*lines, f"  return {_token(program.result)};"])
    return f"__device__ __forceinline__ T element({', '.join(args)}) {{\n{body}\n}}\n"


def _leaf(i, leaf, kind):
    """Kernel arguments and code of one pairwise quantity ``s{i}``."""
    x, z = f"const T* __restrict__ x{i}", f"const T* __restrict__ z{i}"
    if kind == "direct":
        return (
            [x, z, f"int d{i}", f"long long ld{i}"],
            f"""
    T s{i} = 0;
    for (int k = 0; k < d{i}; ++k) {{
      const T a = x{i}[(long long)i * d{i} + k], b = z{i}[k * ld{i} + zj];
      s{i} += {_TERMS[leaf.metric]};
    }}""",
        )
    products = f"const T* S{i}"
    if leaf.metric == "dot":
        return [products], f"\n    const T s{i} = S{i}[at];"
    norms = [f"const T* __restrict__ nx{i}", f"const T* __restrict__ nz{i}"]
    sign = "+" if leaf.metric == "unit_sqsum" else "-"
    close = UNIT_CLOSE if leaf.is_unit else "CLOSE"
    # A distance far below the norms has lost its digits: take the differences.
    return (
        [products, x, z, *norms, f"int d{i}"],
        f"""
    const T n{i} = nx{i}[i] + nz{i}[zj];
    T s{i} = n{i} {sign} 2 * S{i}[at];
    if (s{i} < {close} * n{i})
      s{i} = gk_again(x{i} + (long long)i * d{i}, z{i} + zj * d{i}, {sign}1, d{i});""",
    )


def _header():
    return read("math.cuh") + _AGAIN


def pairs(program, kinds):
    """Kernel arguments, code and the element function's arguments of one pair."""
    arguments, code = [], []
    for i, (leaf, kind) in enumerate(zip(program.pair_leaves, kinds, strict=True)):
        more, text = _leaf(i, leaf, kind)
        arguments += more
        code.append(text)
    first = len(program.pair_leaves)
    for i, leaf in enumerate(program.row_leaves, first):
        arguments.append(f"const T* __restrict__ r{i}")
        code.append(f"\n    const T s{i} = r{i}[{'i' if leaf.is_left else 'zj'}];")
    values = [f"s{i}" for i in range(first + len(program.row_leaves))]
    values += [f"p[{i}]" for i in range(len(program.params))]
    return [*arguments, "const T* __restrict__ p"], "".join(code), ", ".join(values)


def preamble(program, dtype):
    """The types, functions and the element function of a formula."""
    close = "1e-3f" if dtype == "float32" else "1e-9"
    return f"""typedef {CTYPES[dtype]} T;
#define CLOSE T({close})
{_header()}
{element(program)}"""


@lru_cache(maxsize=512)
def tile_source(program, dtype, kinds, halves=False, grouped=False):
    """CUDA source of ``kernel_tile``.

    Parameters
    ----------
    program : Program
    dtype : {"float32", "float64"}
    kinds : tuple of {"product", "direct"}
        How each pairwise leaf comes: from a matrix product made before, or from
        differences inside the kernel.
    halves : bool, default=False
        Whether values go, scaled, into half-precision parts: the nearest one, and
        where there is a second array what is left.
    grouped : bool, default=False
        Whether rows come in groups of equal size, each with columns of its own.
    """
    arguments, code, values = pairs(program, kinds)
    if halves:
        arguments += ["float scale", "unsigned short* high", "unsigned short* low"]
        arguments.append("long long stride")
        store = f"""
    const float v = scale * element({values});
    const unsigned short h = half_of(v);
    high[i * stride + j] = h;
    if (low) low[i * stride + j] = half_of(v - float_of(h));"""
    else:
        arguments.append("T* out")
        store = f"\n    out[at] = element({values});"
    place = "j"
    if grouped:
        arguments.append("int group")
        place = "(long long)(i / group) * cols + j"
    arguments += ["int rows", "int cols"]
    return f"""{read("half.cuh") if halves else ""}{preamble(program, dtype)}
extern "C" __global__ void kernel_tile(
    {", ".join(arguments)}) {{
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= cols) return;
  for (int i = blockIdx.y; i < rows; i += gridDim.y) {{
    [[maybe_unused]] const long long at = (long long)i * cols + j, zj = {place};
    {code}{store}
  }}
}}
"""


@lru_cache(maxsize=512)
def product_source(program, dtype, kinds, outputs):
    """CUDA source of ``kernel_product``: values of a tile times V, in one reading.

    A warp takes `PRODUCT_ROWS` rows, its threads the columns of a span in turn. V comes
    transposed; sums of a span are added in T, those of all spans by the caller.
    """
    arguments, code, values = pairs(program, kinds)
    arguments += ["const T* __restrict__ V", "long long stride", "double* out"]
    arguments += ["int span", "int rows", "int cols"]
    return f"""{preamble(program, dtype)}
extern "C" __global__ void __launch_bounds__(256, 2) kernel_product(
    {", ".join(arguments)}) {{
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first = (blockIdx.x * (blockDim.x / 32) + warp) * {PRODUCT_ROWS};
  const int stop = min(cols, (int)(blockIdx.y + 1) * span);
  T sum[{PRODUCT_ROWS}][{outputs}] = {{}};
  for (int j = blockIdx.y * span + lane; j < stop; j += 32) {{
    [[maybe_unused]] const long long zj = j;
    T v[{outputs}];
    _Pragma("unroll") for (int c = 0; c < {outputs}; ++c) v[c] = V[c * stride + j];
    _Pragma("unroll") for (int r = 0; r < {PRODUCT_ROWS}; ++r) {{
      const int i = min(first + r, rows - 1);
      [[maybe_unused]] const long long at = (long long)i * cols + j;
      {code}
      const T k = element({values});
      _Pragma("unroll") for (int c = 0; c < {outputs}; ++c) sum[r][c] += k * v[c];
    }}
  }}
  for (int r = 0; r < {PRODUCT_ROWS}; ++r) for (int c = 0; c < {outputs}; ++c) {{
    double total = sum[r][c];
    for (int w = 16; w > 0; w >>= 1) total += __shfl_xor_sync(~0u, total, w);
    if (lane == 0 && first + r < rows)
      out[((long long)blockIdx.y * rows + first + r) * {outputs} + c] = total;
  }}
}}
"""


@lru_cache(maxsize=512)
def row_sums_source(program, dtype, kinds, count):
    """CUDA source of ``kernel_sums``: row sums for `count` sets of parameters.

    Pairwise quantities are read once for all of them. Spans and warps are those of
    `product_source`; the column ``i + diagonal`` is left out of row i.
    """
    arguments, code, values = pairs(program, kinds)
    arguments += ["double* out", "long long diagonal"]
    arguments += ["int span", "int rows", "int cols"]
    values = values.replace("p[", "q[")
    return f"""{preamble(program, dtype)}
extern "C" __global__ void __launch_bounds__(256, 2) kernel_sums(
    {", ".join(arguments)}) {{
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int i = blockIdx.x * (blockDim.x / 32) + warp;
  if (i >= rows) return;
  const int stop = min(cols, (int)(blockIdx.y + 1) * span);
  T sum[{count}] = {{}};
  for (int j = blockIdx.y * span + lane; j < stop; j += 32) {{
    [[maybe_unused]] const long long at = (long long)i * cols + j, zj = j;
    if (j == i + diagonal) continue;
    {code}
    _Pragma("unroll") for (int k = 0; k < {count}; ++k) {{
      [[maybe_unused]] const T* q = p + k * {len(program.params)};
      sum[k] += element({values});
    }}
  }}
  for (int k = 0; k < {count}; ++k) {{
    double total = sum[k];
    for (int w = 16; w > 0; w >>= 1) total += __shfl_xor_sync(~0u, total, w);
    if (lane == 0) out[((long long)blockIdx.y * {count} + k) * rows + i] = total;
  }}
}}
"""


def greedy_source(program, dtype):
    """CUDA source of ``greedy_step`` and ``greedy_pick``."""
    arguments, code, values = pairs(program, ("direct",) * len(program.pair_leaves))
    header = f"""{preamble(program, dtype)}
#define LEAF_ARGUMENTS {", ".join(arguments)}
#define MAKE_LEAVES {" ".join(code.split())}
#define VALUE element({values})
"""
    return complete("greedy.cu", {"element.cuh": header})
