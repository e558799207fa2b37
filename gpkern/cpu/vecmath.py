"""Elementary functions that LLVM can vectorise, in float32 and float64.

Numba's `math.exp` and friends are calls into the C library, one number at a time.
The functions here are branch-free polynomials after a range reduction, so a loop
over them becomes SIMD code. Errors are a few units in the last place.

They are compiled without reassociation: a fast-math compiler would undo the split
constants of the range reductions.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F32, F64, I32, I64 = np.float32, np.float64, np.int32, np.int64
_LN2 = math.log(2.0)


def _bitcast(source, target, llvm_type):
    @intrinsic
    def cast(typing_context, x):
        def emit(context, builder, signature, args):
            return builder.bitcast(args[0], llvm_type)

        return target(source), emit

    return cast


_i32_as_f32 = _bitcast(types.int32, types.float32, ir.FloatType())
_f32_as_i32 = _bitcast(types.float32, types.int32, ir.IntType(32))
_i64_as_f64 = _bitcast(types.int64, types.float64, ir.DoubleType())
_f64_as_i64 = _bitcast(types.float64, types.int64, ir.IntType(64))

_OPTIONS = {
    "inline": "never",
    "fastmath": {"contract", "nsz"},
    "cache": True,
    "error_model": "numpy",
}
# By LLVM, whatever the size: a loop with one call left in it does not vectorise.
inline = njit(forceinline=True, **_OPTIONS)
called = njit(**_OPTIONS)


LOG2E_32 = F32(1.0 / _LN2)
# 2^f on [-1/2, 1/2], fitted for relative error.
E6, E5, E4 = F32(1.5353362e-4), F32(1.3398874e-3), F32(9.6184373e-3)
E3, E2, E1 = F32(5.5503324e-2), F32(2.4022651e-1), F32(6.9314718e-1)


@inline
def exp_f32(x):
    """e^x: 0 below -87.7, inf above 88.4."""
    x = min(max(x * LOG2E_32, F32(-127.0)), F32(128.0))
    # Adding 1.5 2^23 leaves the nearest integer in the low bits.
    shifted = x + F32(12582912.0)
    f = x - (shifted - F32(12582912.0))
    p = (((((E6 * f + E5) * f + E4) * f + E3) * f + E2) * f + E1) * f + F32(1.0)
    return p * _i32_as_f32((_f32_as_i32(shifted) + I32(127)) << I32(23))


LOG2E_64, LN2_HI, LN2_LO = (
    1.0 / _LN2,
    6.93147180369123816490e-01,
    1.90821492927058770002e-10,
)
G = tuple(1.0 / math.factorial(k) for k in range(14))


@inline
def exp_f64(x):
    """e^x: 0 below -708.4, inf above 709.7."""
    x = min(max(x, -709.0), 710.0)
    n = np.floor(x * LOG2E_64 + 0.5)
    r = (x - n * LN2_HI) - n * LN2_LO
    p = G[12] * r + G[11]
    p = ((((p * r + G[10]) * r + G[9]) * r + G[8]) * r + G[7]) * r + G[6]
    p = (((((p * r + G[5]) * r + G[4]) * r + G[3]) * r + 0.5) * r + 1.0) * r + 1.0
    return p * _i64_as_f64((I64(n) + I64(1023)) << I64(52))


SQRT_HALF_32 = F32(math.sqrt(0.5))


@inline
def _split_f32(x):
    """m and n of ``x = m 2^n``, m in [sqrt(1/2), sqrt(2))."""
    bits = _f32_as_i32(x)
    n = I32(I32((bits >> I32(23)) & I32(255)) - I32(126))
    m = _i32_as_f32((bits & I32(0x007FFFFF)) | I32(0x3F000000))  # in [1/2, 1)
    low = m < SQRT_HALF_32
    return (m + m if low else m), I32(n - I32(low))


@inline
def _log_f32(s, n):
    """``n log 2`` and the logarithm of ``(1 + s) / (1 - s)``."""
    f = s * s
    p = ((F32(1 / 9) * f + F32(1 / 7)) * f + F32(1 / 5)) * f + F32(1 / 3)
    return F32(2.0) * s + F32(2.0) * s * f * p + F32(n) * F32(_LN2)


@inline
def _at_ends_f32(x, y):
    """The logarithm y of x, or its value where x is zero, infinite or negative."""
    y = F32(-np.inf) if x < F32(1.1754944e-38) else y
    y = F32(np.inf) if x > F32(3.4028235e38) else y
    return y if x >= F32(0.0) else F32(np.nan)


@inline
def log_f32(x):
    """Natural logarithm of a positive normal number; -inf at 0, NaN below."""
    m, n = _split_f32(x)
    return _at_ends_f32(x, _log_f32((m - F32(1.0)) / (m + F32(1.0)), n))


@inline
def log1p_f32(x):
    """Logarithm of ``1 + x``, with all digits where x is small."""
    u = F32(1.0) + x
    m, n = _split_f32(u)
    # What the sum has lost, times 2^-n; the bound on n keeps that a number.
    lost = (x - (u - F32(1.0))) * _i32_as_f32(
        I32(I32(127) - min(n, I32(126))) << I32(23)
    )
    s = ((m - F32(1.0)) + lost) / ((m + F32(1.0)) + lost)
    return _at_ends_f32(u, _log_f32(s, n))


@inline
def _split_f64(x):
    """m and n of ``x = m 2^n``, m in [sqrt(1/2), sqrt(2))."""
    bits = _f64_as_i64(x)
    n = ((bits >> I64(52)) & I64(2047)) - I64(1022)
    m = _i64_as_f64((bits & I64(0x000FFFFFFFFFFFFF)) | I64(0x3FE0000000000000))
    low = m < 0.7071067811865476
    return (m + m if low else m), n - I64(low)


@inline
def _log_f64(s, n):
    """``n log 2`` and the logarithm of ``(1 + s) / (1 - s)``."""
    e, f = F64(n), s * s
    p = ((1 / 19 * f + 1 / 17) * f + 1 / 15) * f + 1 / 13
    p = ((((p * f + 1 / 11) * f + 1 / 9) * f + 1 / 7) * f + 1 / 5) * f + 1 / 3
    return e * LN2_LO + (2.0 * s * f * p + 2.0 * s) + e * LN2_HI


@inline
def _at_ends_f64(x, y):
    """The logarithm y of x, or its value where x is zero, infinite or negative."""
    y = -np.inf if x < 2.2250738585072014e-308 else y
    y = np.inf if x > 1.7976931348623157e308 else y
    return y if x >= 0.0 else np.nan


@inline
def log_f64(x):
    """Natural logarithm of a positive normal number; -inf at 0, NaN below."""
    m, n = _split_f64(x)
    return _at_ends_f64(x, _log_f64((m - 1.0) / (m + 1.0), n))


@inline
def log1p_f64(x):
    """Logarithm of ``1 + x``, with all digits where x is small."""
    u = 1.0 + x
    m, n = _split_f64(u)
    # What the sum has lost, times 2^-n; the bound on n keeps that a number.
    lost = (x - (u - 1.0)) * _i64_as_f64((I64(1023) - min(n, I64(1022))) << I64(52))
    return _at_ends_f64(u, _log_f64(((m - 1.0) + lost) / ((m + 1.0) + lost), n))


@inline
def tanh_f32(x):
    """Hyperbolic tangent; small absolute, not relative, error near 0."""
    return F32(1.0) - F32(2.0) / (exp_f32(F32(2.0) * x) + F32(1.0))


@inline
def tanh_f64(x):
    """Hyperbolic tangent; small absolute, not relative, error near 0."""
    return 1.0 - 2.0 / (exp_f64(2.0 * x) + 1.0)


# pi in three parts, so that x - n pi keeps its digits.
PI_A32, PI_B32, PI_C32 = F32(3.140625), F32(9.6702576e-4), F32(6.2771141e-7)
PI_A64, PI_B64, PI_C64 = (
    3.1415926218032837,
    3.1786509424591713e-08,
    1.2246467864107188e-16,
)
S64 = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(12))
S32 = tuple(F32(s) for s in S64)


@inline
def sin_f32(x):
    """Sine, for |x| up to some thousands."""
    n = np.floor(x * F32(1.0 / math.pi) + F32(0.5))
    r = ((x - n * PI_A32) - n * PI_B32) - n * PI_C32
    f = r * r
    p = (((S32[5] * f + S32[4]) * f + S32[3]) * f + S32[2]) * f + S32[1]
    y = r + r * f * p
    return -y if (I32(n) & I32(1)) else y


@inline
def sin_f64(x):
    """Sine, for |x| up to some millions."""
    n = np.floor(x * (1.0 / math.pi) + 0.5)
    r = ((x - n * PI_A64) - n * PI_B64) - n * PI_C64
    f = r * r
    p = ((S64[10] * f + S64[9]) * f + S64[8]) * f + S64[7]
    p = (((p * f + S64[6]) * f + S64[5]) * f + S64[4]) * f + S64[3]
    y = r + r * f * ((p * f + S64[2]) * f + S64[1])
    return -y if (I64(n) & I64(1)) else y


@inline
def cos_f32(x):
    """Cosine, for |x| up to some thousands."""
    return sin_f32(x + F32(math.pi / 2))


@inline
def cos_f64(x):
    """Cosine, for |x| up to some millions."""
    return sin_f64(x + math.pi / 2)


# (asin(m) - m) / m^3 in powers of m^2, fitted on [0, 1/2].
ARCSINE_32 = """
    0.166666657 0.0750025216 0.044538814 0.0319902392
    0.010435326 0.0637969764 -0.079720716 0.0946973496
"""
ARCSINE_64 = """
    0.16666666666666668 0.0749999999999841207 0.0446428571466556338
    0.030381944084994415 0.0223721770065477001 0.0173522215392011873
    0.013975730180211136 0.0113992460148346797 0.0113109248289554622
    -0.00329419273800909219 0.0737734386867911415 -0.280994793227532798
    0.952265420570821958 -2.35352978602321232 4.38471193924099526
    -5.88323341699902239 5.43638446231858858 -3.09485476051997159
    0.838767409954492713
"""
ARCSINE_32 = tuple(F32(a) for a in ARCSINE_32.split())
ARCSINE_64 = tuple(F64(a) for a in ARCSINE_64.split())


@inline
def _turned_f32(angle, s, c):
    """An angle from 0 to pi/4, to the axis nearest (c, s), as one of all directions."""
    angle = F32(math.pi / 2) - angle if abs(s) > abs(c) else angle
    angle = F32(math.pi) - angle if c < F32(0.0) else angle
    return -angle if s < F32(0.0) else angle


@inline
def angle_f32(s, c):
    """The angle from -pi to pi of sine s and cosine c, where s^2 + c^2 = 1."""
    a, m = ARCSINE_32, min(abs(s), abs(c))
    f = m * m
    p = ((a[7] * f + a[6]) * f + a[5]) * f + a[4]
    p = (((p * f + a[3]) * f + a[2]) * f + a[1]) * f + a[0]
    return _turned_f32(m + m * f * p, s, c)


@inline
def _turned_f64(angle, s, c):
    """An angle from 0 to pi/4, to the axis nearest (c, s), as one of all directions."""
    angle = math.pi / 2 - angle if abs(s) > abs(c) else angle
    angle = math.pi - angle if c < 0.0 else angle
    return -angle if s < 0.0 else angle


@inline
def angle_f64(s, c):
    """The angle from -pi to pi of sine s and cosine c, where s^2 + c^2 = 1."""
    a, m = ARCSINE_64, min(abs(s), abs(c))
    f = m * m
    p = ((a[18] * f + a[17]) * f + a[16]) * f + a[15]
    p = (((p * f + a[14]) * f + a[13]) * f + a[12]) * f + a[11]
    p = (((p * f + a[10]) * f + a[9]) * f + a[8]) * f + a[7]
    p = (((p * f + a[6]) * f + a[5]) * f + a[4]) * f + a[3]
    p = ((p * f + a[2]) * f + a[1]) * f + a[0]
    return _turned_f64(m + m * f * p, s, c)


@called
def _scaled_gamma(nu):
    """``log(nu^nu exp(-nu) / Gamma(nu))``."""
    if nu < 20.0:
        return nu * math.log(nu) - nu - math.lgamma(nu)
    i = 1.0 / (nu * nu)
    series = 1 / 12 - (1 / 360 - (1 / 1260 - i / 1680) * i) * i
    return 0.5 * math.log(nu / (2.0 * math.pi)) - series / nu


@called
def log_matern_f64(nu, z):
    r"""Logarithm of a Matern correlation; `gpkern.kernels.special` derives it.

    Every loop is bounded, whatever the arguments: nobody can interrupt it.
    """
    if z != z or nu != nu:
        return np.nan
    if z < 1e-8:
        # The order says how steep the start is: a root's, or flat to all digits.
        if nu >= 0.9 or z < 1e-300:
            return 0.0
        power = 2.0 * nu * math.log(0.5 * z)
        return math.log(
            -math.expm1(power + math.lgamma(1.0 - nu) - math.lgamma(1.0 + nu))
        )
    if z > 1e300:
        return -np.inf
    s = math.hypot(z, nu)
    q = z * (z / (s + nu))  # s - nu
    peak = nu * math.log1p(q / (2.0 * nu)) - q + _scaled_gamma(nu)
    if s > 2000.0:
        p = (nu / s) * (nu / s)
        u3 = (30375.0 - p * (369603.0 - p * (765765.0 - 425425.0 * p))) / 414720.0
        u2 = (81.0 - p * (462.0 - 385.0 * p)) / 1152.0
        u = ((3.0 - 5.0 * p) / 24.0 - (u2 - u3 / s) / s) / s
        return peak + 0.5 * math.log(2.0 * math.pi / s) + math.log1p(-u)
    h, total = 0.6 / math.sqrt(s + 8.0), 1.0
    for k in range(1, 257):
        t = k * h
        rise = math.expm1(t)
        fall = rise / (1.0 + rise)  # 1 - exp(-t)
        wide = 0.5 * q * rise * fall  # q (cosh t - 1)
        left = wide + nu * (t - fall)
        total += exp_f64(-wide - nu * (rise - t)) + exp_f64(-left)
        if left > 40.0:
            break
    return peak + math.log(h * total)


@called
def log_matern_f32(nu, z):
    """See `log_matern_f64`."""
    return F32(log_matern_f64(F64(nu), F64(z)))


@called
def matern_f64(nu, z):
    """Matern correlation of any order, ``2^(1-nu) / Gamma(nu) z^nu K_nu(z)``."""
    return exp_f64(log_matern_f64(nu, z))


@called
def matern_f32(nu, z):
    """See `matern_f64`."""
    return F32(matern_f64(F64(nu), F64(z)))


@inline
def ratio_f32(a, b):
    """a / b, and 0 where b is 0."""
    return F32(0.0) if b == F32(0.0) else a / b


@inline
def ratio_f64(a, b):
    """a / b, and 0 where b is 0."""
    return 0.0 if b == 0.0 else a / b
