"""Tangent kernels of many rows, by blocks of them that fit into memory."""

from __future__ import annotations

from sklearn.utils import check_random_state

# Arrays of the size of a block's tangents that are alive at a time.
ARRAYS = 4


def in_blocks(function, network, rows, device):
    """What a function makes of rows, of each alone, shape (n, ...)."""
    blocks = _blocks(network, rows, network.n_outputs, device)
    return network.xp.concatenate([function(rows[at]) for at in blocks])


def tangents_of(network, rows, seed, device):
    """`Tangents` of rows, a block at a time.

    Parameters
    ----------
    network : DenseNetwork or TorchNetwork
    rows : array of shape (n, ...)
    seed : array of shape (q, O) or (n, q, O)
        Of ``network.tangents``.
    device : Device
    """
    for at in _blocks(network, rows, seed.shape[-2], device):
        yield network.tangents(rows[at], seed if seed.ndim == 2 else seed[at])


def kernel_matrix(left, right, device, tile):
    """A kernel of two samples.

    Parameters
    ----------
    left : tuple
        Network, rows and seed of `tangents_of`.
    right : tuple or None
        None for the same; only tiles above the diagonal are then computed.
    device : Device
    tile : callable
        The kernel of two `Tangents`, shape (n, m) or (n, m, q, q).

    Returns
    -------
    array of shape (n, m) or (n, m, q, q)
    """
    (network, rows, _), is_same = left, right is None
    _, others, seed = left if is_same else right
    K, start = None, 0
    for ours in tangents_of(*left, device):
        at = slice(start, start + len(ours))
        begin = start if is_same else 0
        rest = seed if seed.ndim == 2 else seed[begin:]
        for theirs in tangents_of(network, others[begin:], rest, device):
            part = tile(ours, theirs)
            if K is None:
                shape = len(rows), len(others), *part.shape[2:]
                K = network.xp.empty(shape, dtype=part.dtype)
            to = slice(begin, begin + len(theirs))
            K[at, to] = part
            if is_same:
                K[to, at] = part.transpose(1, 0, *((3, 2) if part.ndim > 2 else ()))
            begin += len(theirs)
        start += len(ours)
    return K


def projections(network, rows, seed, device, n_projections, random_state):
    """`Tangents.sketch` of rows, with signs that only depend on the network."""
    rng, signs, parts = check_random_state(random_state), None, []
    for t in tangents_of(network, rows, seed, device):
        if signs is None:
            signs = t.signs(n_projections, rng, network.dtype)
        parts.append(t.sketch(signs))
    return network.xp.concatenate(parts)


def _blocks(network, rows, n_sums, device):
    """Slices of rows whose tangents fit into memory."""
    held = ARRAYS * network.dtype.itemsize * network.numbers_per_row(n_sums)
    height = int(max(1, device.working_bytes() // held))
    return (slice(a, a + height) for a in range(0, len(rows), height))
