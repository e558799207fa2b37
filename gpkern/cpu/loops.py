"""The loops over blocks of K, as text that `codegen` completes for a kernel.

``BLOCK(buffer, index)`` stands for the block of rows ``i:i + ROWS`` and panel q;
``DIAGONAL(buffer, index)`` sets the entries on K's diagonal in it, if any;
``CLEAR(array, sizes)`` sets to zero; ``REDUCE`` adds the lanes of A to `total`.
A loop takes `step` panels at a time, that they stay in cache while the rows pass by.
"""

from __future__ import annotations

# Of leaf #, from inner products in the buffer of leaf @. For a squared norm of sums
# `SUMS` has the other sign.
DISTANCES = """    n# = nx#[i + r]
    z# = nz#[q]
    close# = 0
    for j in range(WIDTH):
        s# = n# + z#[j]
        v# = s# - (b@[j] + b@[j])
        b#[j] = v#
        close# += np.int32(v# < tol * s#)
    if close# > 0:
        for j in range(WIDTH):
            if b#[j] < tol * (n# + z#[j]):
                v# = T(0.0)
                for k in range(d):
                    t# = X#[i + r, k] - Z#[q, k, j]
                    v# += t# * t#
                b#[j] = v#"""
SUMS = DISTANCES.replace("s# - (", "s# + (").replace("k] - Z", "k] + Z")

DIAGONAL = """for r in range(ROWS):
    j = first + i + r - q * WIDTH
    if 0 <= j < WIDTH:
        @[r, j] = diagonal[i + r]"""

REDUCE = """for r in range(min(ROWS, total.shape[0] - i)):
    for k in range(c):
        s = T(0.0)
        for lane in range(LANES):
            s += A[k, r, lane]
        total[i + r, k] += s"""


# Entries of K, in rows; the first column is `skip` samples into the first panel.
_TILE = """    B = np.empty((1, ROWS, WIDTH), T)
    n, w = out.shape
    for q in range((skip + w + WIDTH - 1) // WIDTH):
        lo, hi = max(0, skip - q * WIDTH), min(WIDTH, skip + w - q * WIDTH)
        at = q * WIDTH - skip
        for i in range(0, n, ROWS):
            BLOCK(B, 0)
            for r in range(min(ROWS, n - i)):
                for j in range(lo, hi):
                    out[i + r, at + j] = B[0, r, j]"""

# total += K V.
_MATMAT = """    B, A = np.empty((1, ROWS, WIDTH), T), np.empty((c, ROWS, LANES), T)
    count = VP.shape[0]
    for start in range(0, count, step):
        for i in range(0, total.shape[0], ROWS):
            CLEAR(A, c, ROWS, LANES)
            for q in range(start, min(start + step, count)):
                BLOCK(B, 0)
                DIAGONAL(B, 0)
                add_product(B, 0, VP, q * c * WIDTH, c, A)
            REDUCE"""

# The same, and the blocks to the right of the strip serve the rows below it too.
_SYMMETRIC = """    B, A = np.empty((1, ROWS, WIDTH), T), np.empty((c, ROWS, LANES), T)
    count = VP.shape[0]
    own = (total.shape[0] + WIDTH - 1) // WIDTH if first == 0 else 0
    S = np.empty((step, c, WIDTH), T)
    for start in range(0, count, step):
        CLEAR(S, step, c, WIDTH)
        end = min(start + step, count)
        for i in range(0, total.shape[0], ROWS):
            CLEAR(A, c, ROWS, LANES)
            for q in range(start, end):
                BLOCK(B, 0)
                DIAGONAL(B, 0)
                add_product(B, 0, VP, q * c * WIDTH, c, A)
                if q >= own:
                    add_transposed(B, 0, U, i * c, c, S, (q - start) * c * WIDTH)
            REDUCE
        for q in range(max(start, own), end):
            for k in range(c):
                for j in range(WIDTH):
                    below[q, k, j] += S[q - start, k, j]"""

# total += K V, the blocks kept in `store` for `TRANSPOSED`.
_KEEP = """    A = np.empty((c, ROWS, LANES), T)
    count = VP.shape[0]
    for start in range(0, count, step):
        for i in range(0, total.shape[0], ROWS):
            CLEAR(A, c, ROWS, LANES)
            for q in range(start, min(start + step, count)):
                at = (i // ROWS) * count + q
                BLOCK(store, at)
                DIAGONAL(store, at)
                add_product(store, at * ROWS * WIDTH, VP, q * c * WIDTH, c, A)
            REDUCE"""

# Running log-sum-exp of each row: `peak` + log(`total`).
_LOGSUMEXP = """    B = np.empty((step, ROWS, WIDTH), T)
    count = logw.shape[0]
    for start in range(0, count, step):
        end = min(start + step, count)
        for i in range(0, peak.size, ROWS):
            for q in range(start, end):
                BLOCK(B, q - start)
                DIAGONAL(B, q - start)
            for r in range(min(ROWS, peak.size - i)):
                top, undefined = T(-np.inf), 0
                for q in range(start, end):
                    b, w = B[q - start, r], logw[q]
                    for j in range(WIDTH):
                        v = b[j] + w[j]
                        b[j] = v
                        top = max(top, v)
                        undefined += np.int32(v != v)
                if undefined > 0:
                    peak[i + r] = np.nan  # for good: no comparison is true again
                elif top > peak[i + r]:
                    total[i + r] *= wide_exp(peak[i + r] - top)
                    peak[i + r] = top
                shift = peak[i + r]
                if shift > -np.inf:
                    part = T(0.0)
                    for q in range(start, end):
                        b = B[q - start, r]
                        for j in range(WIDTH):
                            part += exp(T(b[j] - shift))
                    total[i + r] += part"""

# T += K' U for the blocks that `_KEEP` left in `store`; the same for every kernel.
TRANSPOSED = """
@njit(nogil=True, fastmath=True, cache=CACHE, error_model="numpy")
def transposed(store, U, height, c, below):
    count = below.shape[0]
    S = np.empty((1, c, WIDTH), T)
    for q in range(count):
        for k in range(c):
            for j in range(WIDTH):
                S[0, k, j] = 0
        for i in range(0, height, ROWS):
            at = (i // ROWS) * count + q
            add_transposed(store, at * ROWS * WIDTH, U, i * c, c, S, 0)
        for k in range(c):
            for j in range(WIDTH):
                below[q, k, j] += S[0, k, j]
"""

# What LLVM may do where infinities and NaN count.
_SAFE = '{"contract", "nsz", "reassoc"}'

# Arguments after a block's own, text, and liberties of floating point.
LOOPS = {
    "tile": ("skip, out", _TILE, "True"),
    "matmat": ("VP, c, first, diagonal, total", _MATMAT, "True"),
    "symmetric": ("VP, c, U, first, diagonal, total, below", _SYMMETRIC, "True"),
    "keep": ("VP, c, first, diagonal, store, total", _KEEP, "True"),
    "logsumexp": ("logw, first, diagonal, peak, total", _LOGSUMEXP, _SAFE),
}
