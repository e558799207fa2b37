"""Kernel formula -> element function of the fused kernels.

In float32 the hardware's exp2, log2, reciprocal and root have errors of one or two
units in the last place. Numbers that multiply the argument of an exponential take
log2(e) in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..cpu.vecmath import ARCSINE_32

# Numbers that may scale the rows instead of every pair: with less, squares would leave
# the range of float32; with more (times the columns), those of the largest rows would.
LEAST_FOLDED, MOST_FOLDED = 2.0**-40, 2.0**23
_OPS = {
    "same": "{0}",
    "neg": "-{0}",
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "recip": "fast_recip({0})",
    "rsqrt": "fast_rsqrt({0})",
    "absolute": "fabs({0})",
    "angle": "fast_angle({0}, {1})",
    "ratio": "gk_ratio({0}, {1})",
    "matern": "gk_matern({0}, {1})",
    "log_matern": "gk_log_matern({0}, {1})",
    "exp": "fast_exp({0})",
    "exp2": "fast_exp2({0})",
    "log": "fast_log({0})",
    "log1p": "fast_log1p({0})",
    "sqrt": "fast_sqrt({0})",
    "sin": "sinf({0})",
    "cos": "cosf({0})",
    "tanh": "tanhf({0})",
}
# The same in float64, by CUDA's own functions.
_PRECISE = _OPS | {
    "recip": "T(1) / {0}",
    "rsqrt": "rsqrt({0})",
    "angle": "atan2({0}, {1})",
    **{f: f"{f}({{0}})" for f in ("exp", "exp2", "log", "log1p", "sqrt")},
    **{f: f"{f}({{0}})" for f in ("sin", "cos", "tanh")},
}
_FUNCTIONS = {
    "fast_exp2": "ex2.approx.ftz.f32",
    "fast_log2": "lg2.approx.ftz.f32",
    "fast_recip": "rcp.approx.ftz.f32",
    "fast_rsqrt": "rsqrt.approx.ftz.f32",
    "fast_sqrt": "sqrt.approx.ftz.f32",
}


def _horner(coefficients):
    """Text of a polynomial in f, lowest degree first."""
    text = f"{coefficients[-1]}f"
    for c in coefficients[-2::-1]:
        text = f"fmaf({text}, f, {c}f)"
    return text


_HEADER = (
    "".join(
        f"""
__device__ __forceinline__ float {name}(float x) {{
  float y;
  asm("{instruction} %0, %1;" : "=f"(y) : "f"(x));
  return y;
}}"""
        for name, instruction in _FUNCTIONS.items()
    )
    + """
__device__ __forceinline__ float fast_exp(float x) {
  return fast_exp2(x * 1.44269504f);
}
__device__ __forceinline__ float fast_log(float x) {
  return fast_log2(x) * 0.693147181f;
}
// The sum 1 + x has lost the digits of a small x, and log2 those of a result near 0.
__device__ __forceinline__ float fast_log1p(float x) {
  const float s = x * fast_recip(2.f + x), f = s * s;
  const float p = fmaf(fmaf(1.f / 7.f, f, 0.2f), f, 1.f / 3.f);
  const float near = fmaf(2.f * s * f, p, 2.f * s);
  return fabsf(x) < 0.25f ? near : fast_log(1.f + x);
}
"""
    + f"""
// The angle of a sine and a cosine: the arc sine of the smaller one.
__device__ __forceinline__ float fast_angle(float s, float c) {{
  const float a = fabsf(s), b = fabsf(c), m = fminf(a, b), f = m * m;
  float t = fmaf(m * f, {_horner(ARCSINE_32)}, m);
  t = a > b ? {math.pi / 2}f - t : t;
  t = c < 0.f ? {math.pi}f - t : t;
  return copysignf(t, s);
}}
"""
)


def simplified(program):
    """Statements and numbers of a program after the peephole rewrites.

    ``exp(p * x)`` becomes ``exp2((p log2 e) * x)``, and ``1 / sqrt(x)`` one
    instruction, where nothing else needs the inner value.

    Returns
    -------
    statements : list of (target, op, operands)
    params : ndarray, float64
    """
    params = list(program.params)
    made = {t: (op, a) for t, op, a in program.statements}
    uses: dict = {}
    for _, _, operands in program.statements:
        for token in operands:
            uses[token] = uses.get(token, 0) + 1
    uses[program.result] = uses.get(program.result, 0) + 1
    out, dropped = [], set()
    for target, op, operands in program.statements:
        inner = made.get(operands[0]) if operands else None
        alone = inner is not None and uses[operands[0]] == 1
        if op == "exp" and alone and inner[0] == "mul" and inner[1][0][0] not in "st":
            token = inner[1][0]
            number = params[int(token[1:])] if token[0] == "p" else float(token)
            params.append(number * math.log2(math.e))
            dropped.add(operands[0])
            out.append((f"{target}a", "mul", (f"p{len(params) - 1}", inner[1][1])))
            out.append((target, "exp2", (f"{target}a",)))
        elif op == "recip" and alone and inner[0] == "sqrt":
            dropped.add(operands[0])
            out.append((target, "rsqrt", inner[1]))
        else:
            out.append((target, op, operands))
    return [s for s in out if s[0] not in dropped], np.array(params, dtype=np.float64)


@dataclass(frozen=True)
class Lowered:
    """A formula ready to become an element function.

    Attributes
    ----------
    statements : list of (target, op, operands)
    params : ndarray, float64
    fold : float
        Positive number that the pairwise quantity comes multiplied by.
    sign : {0, 1, -1}
        That of the number that was folded; 0 where there was none.
    """

    statements: list
    params: np.ndarray
    fold: float = 1.0
    sign: int = 0


def lowered(program, d):
    """`Lowered` of a program on d columns.

    A number that the one pairwise quantity, or its root, is multiplied by moves into
    the rows: a multiplication less for each pair.
    """
    statements, params = simplified(program)
    plain = Lowered(statements, params)
    foldable = ("sqeuclidean", "dot", "l1")
    if len(program.pair_leaves) != 1 or program.pair_leaves[0].metric not in foldable:
        return plain
    token = "s0"
    user = _only_user(statements, token)
    if user is not None and user[1] == "sqrt":
        token = user[0]
        user = _only_user(statements, token)
    if user is None or user[1] != "mul":
        return plain
    target, _, (a, b) = user
    other = b if a == token else a
    if other[0] in "st":
        return plain
    number = float(params[int(other[1:])] if other[0] == "p" else other)
    fold = abs(number) if token == "s0" else number * number
    if not LEAST_FOLDED <= fold <= MOST_FOLDED / d:
        return plain
    sign = 1 if number > 0 else -1
    rest = (target, "same" if sign > 0 else "neg", (token,))
    return Lowered([rest if s is user else s for s in statements], params, fold, sign)


def _only_user(statements, token):
    """The one statement that reads a value, or None."""
    users = [s for s in statements if token in s[2]]
    return users[0] if len(users) == 1 else None


def _token(token):
    return token if token[0] in "spt" else f"T({float(token)!r})"


def element(program, form, math_header, dtype="float32"):
    """Text of ``element(s0, ..., p0, ...)`` with what it calls.

    Parameters
    ----------
    program : Program
    form : Lowered
        Of the program.
    math_header : str
        ``math.cuh``.
    dtype : {"float32", "float64"}
        The fast functions are those of float32.
    """
    single = dtype == "float32"
    ops, leaves = _OPS if single else _PRECISE, program.pair_leaves + program.row_leaves
    args = [f"T s{i}" for i in range(len(leaves))]
    args += [f"T p{i}" for i in range(len(form.params))]
    lines = [
        f"  const T {target} = {ops[op].format(*map(_token, operands))};"
        for target, op, operands in form.statements
    ]
    body = "\n".join([*lines, f"  return {_token(program.result)};"])
    return (
        f"typedef {'float' if single else 'double'} T;\n{math_header}"
        f"{_HEADER if single else ''}"
        f"__device__ __forceinline__ T element({', '.join(args)}) {{\n{body}\n}}\n"
        f"#define EXP {'fast_exp' if single else 'exp'}\n"
        f"#define RECIP(x) {'fast_recip(x)' if single else '(1.0 / (x))'}\n"
        f"#define NP {len(form.params)}\n"
    )


def product_header(program, form, math_header):
    """``element.cuh`` of a formula of what one inner product gives."""
    names = {"norm_x": "x", "norm_z": "z", "given_x": "g", "unit_sqsum": "o"}
    leaves, first = program.pair_leaves + program.row_leaves, program.pair_leaves[0]
    values = [names.get(v.metric, "s") for v in leaves]
    values += [f"p[{i}]" for i in range(len(form.params))]
    return (
        element(program, form, math_header)
        + f"#define ELEMENT(s, o, x, z, g) element({', '.join(values)})\n"
        + f"#define GIVEN {int('g' in values)}\n#define UNIT {int(first.is_unit)}\n"
        + f"#define DOT {int(first.metric == 'dot')}\n"
        # A share of the norms, which of unit rows add up to 2.
        + f"#define CLOSE {'2e-2f' if first.is_unit else '1e-3f'}\n"
    )


# What a column adds to a quantity of a pair.
_TERMS = {
    "sqeuclidean": "const T t = x - z; s += t * t;",
    "unit_sqdist": "const T t = x - z; s += t * t;",
    "unit_sqsum": "const T t = x + z; s += t * t;",
    "l1": "s += abs(x - z);",
    "dot": "s += x * z;",
    "chi2": "const T t = x - z; s += t * (t * RECIP(x + z + T(1e-30)));",
}


def direct_header(program, form, d, math_header, dtype):
    """``element.cuh`` of any formula of few columns, from the rows themselves.

    The rows of X and of Z hold the columns of each leaf in turn, then what belongs to
    one row alone.
    """
    text, values, at = [element(program, form, math_header, dtype)], [], 0
    for i, leaf in enumerate(program.pair_leaves):
        text.append(
            f"""__device__ __forceinline__ T leaf{i}(const T* xs,
                                   const T (*zs)[16 / sizeof(T)], int j) {{
  T s = 0;
  _Pragma("unroll") for (int k = {at}; k < {at + d}; ++k) {{
    const T x = xs[k], z = zs[k][j];
    {_TERMS[leaf.metric]}
  }}
  return s;
}}
"""
        )
        values.append(f"leaf{i}(x[i], z, j)")
        at += d
    for leaf in program.row_leaves:
        values.append(f"x[i][{at}]" if leaf.is_left else f"z[{at}][j]")
        at += 1
    values += [f"p[{i}]" for i in range(len(form.params))]
    text.append(f"#define PAIR(x, z, i, j) element({', '.join(values)})\n")
    text.append(f"#define DIM {at}\n")
    return "".join(text)


def wide_header(program, form, math_header, dtype):
    """The same for any number of columns, a term at a time."""
    cases = [
        f"  if (leaf == {i}) {{ {_TERMS[leaf.metric]} }}"
        for i, leaf in enumerate(program.pair_leaves)
    ]
    values = [f"s[{i}][i][k]" for i in range(len(program.pair_leaves))]
    for r, leaf in enumerate(program.row_leaves):
        values.append(f"x[{r}][i]" if leaf.is_left else f"z[{r}][j]")
    values += [f"p[{i}]" for i in range(len(form.params))]
    calls = [f"f(Number<{i}>());" for i in range(len(cases))]
    lines = [
        element(program, form, math_header, dtype),
        "__device__ __forceinline__ void term(int leaf, T& s, T x, T z) {",
        *cases,
        "}",
        f"#define VALUE(s, x, z, i, k, j) element({', '.join(values)})",
        f"#define LEAVES {len(program.pair_leaves)}",
        f"#define ROW_LEAVES {len(program.row_leaves)}",
        f"#define GATHER_LEAVES(f) {' '.join(calls)}",
    ]
    return "\n".join(lines) + "\n"


def wgmma(columns):
    """The instruction of 64 x `columns` x 16, which names all its registers."""
    count = columns // 2
    names = ", ".join(f"%{i}" for i in range(count))
    operands = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    return f"""
// d = a b, or d += a b.
__device__ __forceinline__ void wgmma(float (&d)[{count}], unsigned long long a,
                                      unsigned long long b, int add) {{
  asm volatile(
      "{{ .reg .pred p; setp.ne.b32 p, %{count + 2}, 0;\\n"
      "wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.f16.f16 "
      "{{{names}}}, %{count}, %{count + 1}, p, 1, 1, 0, 0; }}\\n"
      : {operands}
      : "l"(a), "l"(b), "r"(add));
}}
"""
