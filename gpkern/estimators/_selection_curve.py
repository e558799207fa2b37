"""`selection_curve`: what chosen rows are worth to a model, batch after batch."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics import check_scoring
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _num_samples

from ._batch_selector import METHODS, BatchSelector
from ._thinning_rows import rows_of

SCORING = "neg_root_mean_squared_error"


class SelectionCurve(NamedTuple):
    """What `selection_curve` returns.

    Attributes
    ----------
    n_rows : ndarray of int64, shape (n_batches + 1,)
        Rows whose targets are known, of each fit.
    scores : dict of str to ndarray of shape (n_repeats, n_batches + 1), float64
        For each method the scores on the test rows.
    score_name : str
        That of the scorer.
    indices : dict of str to ndarray of int64, shape (n_repeats, n_rows[-1])
        Which rows of X they are, in the order of choice.
    """

    n_rows: np.ndarray
    scores: dict
    score_name: str
    indices: dict


def selection_curve(
    estimator,
    X,
    y,
    *,
    X_test,
    y_test,
    methods=("random", "lcmd"),
    features=None,
    kernel=None,
    n_initial=50,
    batch_size=50,
    n_batches=8,
    n_repeats=3,
    scoring=None,
    random_state=None,
):
    """Scores of a model that is fitted again after each batch of new targets.

    The loop of batch active learning, on a pool whose targets are known, but shown to
    the model only where a row has been chosen: fit a clone to the known rows, score it,
    choose a batch by `BatchSelector`, and again.

    Parameters
    ----------
    estimator : estimator
        Clones of it are fitted, with its own ``random_state``; the first one of a start
        serves all methods.
    X : array-like of shape (n, n_features)
        The pool.
    y : array-like of shape (n,) or (n, n_targets)
    X_test : array-like of shape (n_test, n_features)
    y_test : array-like of shape (n_test,) or (n_test, n_targets)
    methods : sequence of str, default=("random", "lcmd")
        Those of `BatchSelector`, and "random".
    features : callable, default=None
        ``features(model)``, of a fitted clone, gives what `BatchSelector` takes as
        `features`, such as ``EmpiricalNTK(model, kind="projected")``. Called before
        each batch.
    kernel : str, Kernel or callable, default=None
        The kernel of `BatchSelector`, of the rows of X as they are; or a function of a
        fitted clone that gives one, such as `EmpiricalNTK`.
    n_initial : int, default=50
        Rows to start with, drawn at random: the same ones for all methods.
    batch_size : int, default=50
    n_batches : int, default=8
    n_repeats : int, default=3
        Starts.
    scoring : str, callable or None, default=None
        A scorer of scikit-learn; None: minus the root of the mean squared error, of
        classifiers the accuracy.
    random_state : int, RandomState or None, default=None
        Of starts, random batches and the selectors. What one method draws does not
        depend on the others.

    Returns
    -------
    SelectionCurve

    Raises
    ------
    ValueError
        Where the pool has fewer rows than are to be known in the end; for methods that
        are not known, and numbers below 1; where features and kernel are both given.
    TypeError
        For features that are no function.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelRidge, selection_curve
    >>> X = np.random.default_rng(0).normal(size=(400, 2))
    >>> y = np.sin(X).sum(axis=1)
    >>> curve = selection_curve(
    ...     KernelRidge(alpha=1e-3, kernel="rbf"),
    ...     X[:300],
    ...     y[:300],
    ...     X_test=X[300:],
    ...     y_test=y[300:],
    ...     n_initial=10,
    ...     batch_size=10,
    ...     n_batches=3,
    ...     random_state=0,
    ... )
    >>> curve.n_rows
    array([10, 20, 30, 40])
    >>> curve.scores["lcmd"].shape
    (3, 4)
    """
    methods = _checked(methods, features, kernel)
    _check_numbers(
        n_initial=n_initial,
        batch_size=batch_size,
        n_batches=n_batches,
        n_repeats=n_repeats,
    )
    check_consistent_length(X, y)
    check_consistent_length(X_test, y_test)
    n, total = _num_samples(X), n_initial + n_batches * batch_size
    if total > n:
        raise ValueError(
            f"the pool has {n} rows, and n_initial + n_batches * batch_size = {total} "
            "are to be known in the end: set smaller ones, or pass more rows"
        )
    if scoring is None:
        scoring = "accuracy" if is_classifier(estimator) else SCORING
    scorer = check_scoring(estimator, scoring=scoring)
    seeds = check_random_state(random_state).randint(2**31 - 1, size=(n_repeats, 2))
    own_kernel = callable(kernel) and not isinstance(kernel, Kernel)
    n_rows = n_initial + batch_size * np.arange(n_batches + 1)
    scores = {m: np.empty((n_repeats, n_batches + 1)) for m in methods}
    indices = {m: np.empty((n_repeats, total), np.int64) for m in methods}
    for i, (start, steps) in enumerate(seeds.tolist()):
        first = np.random.RandomState(start).choice(n, n_initial, replace=False)
        begun = clone(estimator).fit(rows_of(X, first), rows_of(y, first))
        begun_score = scorer(begun, X_test, y_test)
        for method in methods:
            rng = np.random.RandomState(steps)
            known, model, scores[method][i, 0] = first, begun, begun_score
            for k in range(1, n_batches + 1):
                selector = None  # which draws the batch
                if method != "random":
                    selector = BatchSelector(
                        batch_size,
                        method=method,
                        kernel=kernel(model) if own_kernel else kernel,
                        features=None if features is None else features(model),
                        random_state=rng.randint(2**31 - 1),
                    )
                known = _grown(known, X, n, batch_size, selector, rng)
                model = clone(estimator).fit(rows_of(X, known), rows_of(y, known))
                scores[method][i, k] = scorer(model, X_test, y_test)
            indices[method][i] = known
    name = scoring if isinstance(scoring, str) else "score"
    return SelectionCurve(n_rows, scores, name, indices)


def _grown(known, X, n, size, selector, rng):
    """Known rows, and after them a batch of the others."""
    others = np.setdiff1d(np.arange(n), known)
    if selector is None:
        new = rng.choice(len(others), size, replace=False)
    else:
        new = selector.select(rows_of(X, others), X_train=rows_of(X, known))
        new = new.get() if hasattr(new, "get") else np.asarray(new)
    return np.append(known, others[new])


def _checked(methods, features, kernel):
    """Names of methods, each once."""
    methods = (methods,) if isinstance(methods, str) else tuple(dict.fromkeys(methods))
    if not methods:
        raise ValueError("methods is empty: name one or more, such as 'lcmd'")
    names = ("random", *METHODS)
    for method in methods:
        if method not in names:
            raise ValueError(
                f"methods: {method!r} is not known. Use {', '.join(names)}"
            )
    if features is not None and kernel is not None:
        raise ValueError(
            "features and kernel are both given: rows are compared by one of them"
        )
    is_fixed = hasattr(features, "transform") and not isinstance(features, type)
    if features is not None and (is_fixed or not callable(features)):
        raise TypeError(
            f"features={features!r:.60} must be a function of a fitted model, such as "
            "lambda model: EmpiricalNTK(model, kind='projected')"
        )
    return methods


def _check_numbers(**numbers):
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number from 1 on")
