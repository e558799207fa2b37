"""Early stopping, warm starts, streams, callbacks and messages of EigenPro."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Matern

from gpkern import EigenProClassifier, EigenProRegressor
from gpkern.estimators._eigenpro_base import _EigenPro

LAPLACIAN = Matern(1.0, nu=0.5)


@pytest.fixture(scope="module")
def noisy():
    """A sine under noise of the same size: interpolation overfits."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(300, 1))
    return X, np.sin(3 * X[:, 0]) + rng.normal(size=300)


class TestEarlyStopping:
    def test_stops_and_keeps_the_best_epoch(self, noisy):
        X, y = noisy
        model = EigenProRegressor(
            LAPLACIAN, early_stopping=True, n_epochs=100, random_state=0
        ).fit(X, y)
        scores = model.validation_scores_
        assert model.n_iter_ == len(scores) == len(model.loss_curve_) < 100
        assert model.best_iter_ == np.argmax(scores) + 1
        # `n_iter_no_change` epochs without progress of more than `tol`.
        best = np.maximum.accumulate(np.r_[-np.inf, scores])
        waited = np.asarray(scores) <= best[:-1] + model.tol
        assert waited[-2:].all()
        assert not (waited[:-1] & waited[1:])[:-1].any()

    @pytest.mark.parametrize("n_centers", [None, 50])
    def test_the_best_epoch_is_what_predicts(self, noisy, n_centers, monkeypatch):
        """The third and the fourth are said to be worse than the second."""
        X, y = noisy
        for cls in (EigenProRegressor, EigenProClassifier):
            scores = iter([0.1, 0.7, 0.3, 0.2])
            monkeypatch.setattr(cls, "_score_values", lambda *args, s=scores: next(s))
            model = cls(
                LAPLACIAN, n_centers=n_centers, early_stopping=True, random_state=0
            )
            target = y if cls is EigenProRegressor else y > 0
            model.fit(X, target)
            assert model.validation_scores_ == [0.1, 0.7, 0.3, 0.2]
            assert (model.n_iter_, model.best_iter_) == (4, 2)
            # The rows that were held out are those of two epochs.
            scores = iter([0.1, 0.2])
            monkeypatch.setattr(cls, "_score_values", lambda *args, s=scores: next(s))
            two = clone(model).set_params(n_epochs=2).fit(X, target)
            assert_array_equal(two.dual_coef_, model.dual_coef_)
            assert_allclose(two.predict(X), model.predict(X))
            monkeypatch.undo()

    def test_scores_are_those_of_the_estimator(self, noisy):
        X, y = noisy
        seen = {}

        def split(self, *args):
            seen["rows"] = original(self, *args)
            return seen["rows"]

        original = _EigenPro._split
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_EigenPro, "_split", split)
            for cls, target in ((EigenProRegressor, y), (EigenProClassifier, y > 0)):
                model = cls(
                    LAPLACIAN,
                    early_stopping=True,
                    validation_fraction=0.2,
                    random_state=0,
                ).fit(X, target)
                kept, held_out = seen["rows"]
                assert (len(kept), len(held_out)) == (240, 60)
                assert not set(kept) & set(held_out)
                assert_allclose(
                    model.validation_scores_[model.best_iter_ - 1],
                    model.score(X[held_out], target[held_out]),
                )
                assert model.centers_.shape == (240, 1)

    def test_prevents_overfitting(self, noisy):
        X, y = noisy
        grid = np.linspace(-2, 2, 200)[:, None]
        errors = []
        for early in (False, True):
            model = EigenProRegressor(
                LAPLACIAN, early_stopping=early, n_epochs=50, random_state=0
            ).fit(X, y)
            errors.append(((model.predict(grid) - np.sin(3 * grid[:, 0])) ** 2).mean())
        assert errors[1] < 0.7 * errors[0]

    def test_auto_depends_on_the_rows(self, monkeypatch, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, n_epochs=2, random_state=0)
        assert model.fit(X, y).validation_scores_ is None
        monkeypatch.setattr("gpkern.estimators._eigenpro_base.EARLY_STOPPING_ROWS", 299)
        assert len(model.fit(X, y).validation_scores_) == 2

    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_n_epochs_is_a_limit(self, noisy, early_stopping):
        X, y = noisy
        model = EigenProRegressor(
            LAPLACIAN, n_epochs=1, early_stopping=early_stopping, random_state=0
        ).fit(X, y)
        assert model.n_iter_ == model.best_iter_ == len(model.loss_curve_) == 1


class TestWarmStart:
    @pytest.mark.parametrize("n_centers", [None, 60])
    def test_goes_on(self, noisy, n_centers):
        X, y = noisy
        options = {"n_centers": n_centers, "random_state": 0}
        model = EigenProRegressor(LAPLACIAN, warm_start=True, n_epochs=1, **options)
        losses = [model.fit(X, y).loss_curve_[0] for _ in range(6)]
        assert losses[1] < losses[0]
        assert max(losses[2:]) < 0.9 * losses[0]

    @pytest.mark.parametrize("n_centers", [None, 60])
    def test_keeps_its_split(self, noisy, n_centers):
        """What was held out is not learnt from, and the rows stay the centers."""
        X, y = noisy
        model = EigenProRegressor(
            LAPLACIAN, n_centers=n_centers, early_stopping=True, warm_start=True
        )
        first = model.fit(X, y).centers_
        assert_array_equal(model.fit(X, y).centers_, first)
        assert max(model.validation_scores_) < 0.99  # noise that it has not seen

    @pytest.mark.parametrize("n_centers", [None, 60])
    def test_two_fits_are_two_epochs(self, noisy, n_centers):
        X, y = noisy
        options = {"n_centers": n_centers, "random_state": 0}
        halves = EigenProRegressor(LAPLACIAN, warm_start=True, n_epochs=3, **options)
        halves.fit(X, y).fit(X, y)
        whole = EigenProRegressor(LAPLACIAN, n_epochs=6, **options).fit(X, y)
        assert_array_equal(halves.centers_, whole.centers_)
        # Other batches; the same progress.
        assert_allclose(halves.loss_curve_[-1], whole.loss_curve_[-1], rtol=0.2)
        gap = abs(halves.predict(X) - whole.predict(X)).mean()
        assert gap < 0.3 * np.std(whole.predict(X) - y) + 0.05

    def test_without_it_fit_starts_again(self, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, n_epochs=2, random_state=0)
        first = model.fit(X, y).dual_coef_.copy()
        assert_array_equal(model.fit(X, y).dual_coef_, first)

    def test_other_rows_on_the_same_centers(self, noisy):
        X, y = noisy
        model = EigenProRegressor(
            LAPLACIAN, warm_start=True, n_epochs=2, random_state=0
        ).fit(X[:200], y[:200])
        centers = model.centers_
        model.fit(X[100:], y[100:])
        assert_array_equal(model.centers_, centers)
        assert np.isfinite(model.predict(X)).all()

    def test_after_a_pickle(self, noisy):
        X, y = noisy
        model = EigenProRegressor(
            LAPLACIAN, warm_start=True, n_epochs=2, random_state=0
        ).fit(X, y)
        other = pickle.loads(pickle.dumps(model))
        assert_allclose(other.fit(X, y).predict(X), model.fit(X, y).predict(X))

    def test_other_shapes(self, noisy):
        X, y = noisy
        model = EigenProRegressor(warm_start=True, random_state=0).fit(X, y)
        before = model.predict(X)
        for args in ((np.c_[X, X], y), (X, np.c_[y, y])):
            with pytest.raises(ValueError, match="as many columns as in the last fit"):
                model.fit(*args)
        assert_array_equal(model.predict(X), before)


class TestPartialFit:
    @pytest.mark.parametrize("chunk", [100, 7])
    def test_reaches_the_quality_of_fit(self, friedman, chunk):
        X, y, X_test, y_test = friedman
        options = {"n_centers": X[:100], "random_state": 0}
        kernel = Matern(2.0, nu=1.5)
        whole = EigenProRegressor(kernel, n_epochs=5, **options).fit(X, y)
        stream = EigenProRegressor(kernel, **options)
        for _ in range(5):
            for i in range(0, len(X), chunk):
                stream.partial_fit(X[i : i + chunk], y[i : i + chunk])
        assert stream.score(X_test, y_test) > whole.score(X_test, y_test) - 0.05
        assert stream.n_iter_ == len(stream.loss_curve_) == 5 * -(-len(X) // chunk)

    def test_first_chunk_gives_the_centers(self, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, random_state=0)
        model.partial_fit(X[:40], y[:40])
        assert_array_equal(model.centers_, X[:40])
        model.partial_fit(X[40:], y[40:])
        assert_array_equal(model.centers_, X[:40])
        model = EigenProRegressor(LAPLACIAN, n_centers=0.5).partial_fit(X[:40], y[:40])
        assert model.centers_.shape == (20, 1)

    def test_after_a_pickle(self, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, n_centers=X[:50], random_state=0)
        model.partial_fit(X[:150], y[:150])
        other = pickle.loads(pickle.dumps(model))
        assert_array_equal(other.predict(X), model.predict(X))
        for m in (model, other):
            m.partial_fit(X[150:], y[150:])
        assert np.isfinite(other.predict(X)).all()
        assert other.n_iter_ == model.n_iter_ == 2
        # The preconditioner is learnt anew, from another chunk.
        gap = abs(other.predict(X) - model.predict(X)).mean()
        assert gap < 0.4 * model.predict(X).std()

    def test_after_fit(self, noisy):
        X, y = noisy
        for n_centers in (None, 50):
            model = EigenProRegressor(
                LAPLACIAN, n_centers=n_centers, n_epochs=3, random_state=0
            ).fit(X, y)
            loss = model.loss_curve_[-1]
            for _ in range(3):
                model.partial_fit(X, y)
            assert model.n_iter_ == len(model.loss_curve_) == 6
            assert model.loss_curve_[-1] < 1.2 * loss

    def test_classes(self, blobs):
        X, y, X_test, y_test = blobs
        options = {"n_centers": X[:100], "random_state": 0}
        whole = EigenProClassifier(LAPLACIAN, n_epochs=2, **options).fit(X, y)
        stream = EigenProClassifier(LAPLACIAN, **options)
        for i in (*range(0, 600, 60), *range(0, 600, 60)):
            stream.partial_fit(X[i : i + 60], y[i : i + 60], classes=[0, 1, 2])
        assert stream.score(X_test, y_test) > whole.score(X_test, y_test) - 0.05

    def test_other_columns(self, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, random_state=0).partial_fit(X, y)
        with pytest.raises(ValueError, match="2 features"):
            model.partial_fit(np.c_[X, X], y)
        with pytest.raises(ValueError, match="columns"):
            model.partial_fit(X, np.c_[y, y])
        model.partial_fit(X, y)

    def test_a_chunk_that_fails_changes_nothing(self, noisy, monkeypatch):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, n_centers=X[:50], random_state=0)
        model.partial_fit(X, y)
        before = model.predict(X)
        machine = model._machine
        good, machine.step = machine.step, -1e6
        with pytest.raises(ValueError, match="did not converge"):
            model.partial_fit(X, y)
        machine.step = good
        assert_array_equal(model.predict(X), before)
        assert model.n_iter_ == 1
        model.partial_fit(X, y)
        assert model.n_iter_ == 2


class TestCallbacks:
    @pytest.fixture(autouse=True)
    def _callbacks(self):
        pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

    def test_tasks(self, noisy, eigenpro):
        X, y = noisy
        log = Recorder()
        eigenpro.set_params(n_epochs=3, batch_size=100).set_callbacks(log)
        eigenpro.fit(X, y > 0)
        tasks = ["fit"] + 3 * (["epoch"] + 3 * ["batch"])
        assert log.begun == tasks
        assert sorted(log.ended) == sorted(tasks)
        assert log.ended[-1] == "fit"
        assert log.calls[0] == "setup"
        assert log.calls[-1] == "teardown"

    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_stop(self, noisy, eigenpro, early_stopping):
        X, y = noisy
        log = Recorder(stop_after=2)
        eigenpro.set_params(n_epochs=50, early_stopping=early_stopping, tol=0.0)
        eigenpro.set_callbacks(log).fit(X, y > 0)
        assert eigenpro.n_iter_ == 2
        assert log.ended.count("fit") == 1
        assert np.isfinite(eigenpro.predict(X)).all()

    def test_teardown_after_a_failure(self, noisy):
        X, y = noisy
        log = Recorder(error=RuntimeError("no more"))
        model = EigenProRegressor(LAPLACIAN).set_callbacks(log)
        with pytest.raises(RuntimeError, match="no more"):
            model.fit(X, y)
        assert log.calls[-1] == "teardown"
        assert not [name for name in vars(model) if name.endswith("_")]
        model.set_callbacks().fit(X, y)

    def test_progress_bar(self, noisy, eigenpro, capsys):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        X, y = noisy
        eigenpro.set_params(n_epochs=2).set_callbacks(ProgressBar()).fit(X, y > 0)
        assert "fit" in capsys.readouterr().out

    def test_within_a_search(self, noisy):
        from sklearn.model_selection import GridSearchCV

        X, y = noisy
        log = Recorder()
        model = EigenProRegressor(LAPLACIAN, n_epochs=2).set_callbacks(log)
        GridSearchCV(model, {"n_eigencomponents": [1, 5]}, cv=2, refit=False).fit(X, y)
        assert log.begun.count("epoch") == 2 * 2 * 2

    def test_clones_and_pickles_forget_none_of_the_parameters(self, noisy):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN).set_callbacks(Recorder())
        pickle.loads(pickle.dumps(model.fit(X, y))).predict(X)


class Recorder:
    """Callback that writes down its calls; asks to stop, or fails, when told to."""

    def __init__(self, stop_after=None, error=None):
        self.calls, self.begun, self.ended = [], [], []
        self.stop_after, self.error = stop_after, error

    def setup(self, estimator, context):
        self.calls.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append("begin")
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.calls.append("end")
        self.ended.append(context.task_name)
        if self.error is not None:
            raise self.error
        return self.ended.count("epoch") == self.stop_after

    def teardown(self, estimator, context):
        self.calls.append("teardown")


class TestVerbose:
    def test_a_line_an_epoch(self, noisy, eigenpro, capsys):
        X, y = noisy
        eigenpro.set_params(n_epochs=3, verbose=1).fit(X, y > 0)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        name = type(eigenpro).__name__
        for i, line in enumerate(lines, start=1):
            assert re.fullmatch(rf"\[{name}\] epoch {i}: loss [-+.e\d]+", line)

    def test_validation_score(self, noisy, capsys):
        X, y = noisy
        model = EigenProRegressor(LAPLACIAN, n_epochs=2, early_stopping=True, verbose=1)
        model.fit(X, y)
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.endswith(f"validation {model.validation_scores_[-1]:.5f}")

    def test_quiet_by_default(self, noisy, eigenpro, capsys):
        X, y = noisy
        eigenpro.set_params(n_epochs=1).fit(X, y > 0)
        assert capsys.readouterr() == ("", "")
