"""scikit-learn's callbacks where they exist (1.9 on), nothing where they do not."""

from __future__ import annotations

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Stand-in: scikit-learn before 1.9 has no callbacks."""

    def with_callbacks(method):
        """Stand-in: returns the method."""
        return method


class FitCallbacks:
    """Tells an estimator's callbacks about its fit: epochs and batches, or steps.

    Parameters
    ----------
    estimator : estimator
    n_parts : int
        Epochs or steps, at most.
    """

    def __init__(self, estimator, n_parts):
        self.estimator, self.root, self.epoch = estimator, None, None
        if getattr(estimator, "_skl_callbacks", None):
            self.root = estimator._init_callback_context(max_subtasks=n_parts)
            self.root.call_on_fit_task_begin(estimator=estimator)

    def step_end(self):
        """One step without parts is done; True asks to stop."""
        if self.root is None:
            return False
        task = self.root.subcontext("step")
        task.call_on_fit_task_begin(estimator=self.estimator)
        return task.call_on_fit_task_end(estimator=self.estimator)

    def epoch_begin(self, n_batches):
        """Start of an epoch."""
        if self.root is not None:
            self.epoch = self.root.subcontext("epoch", max_subtasks=n_batches)
            self.epoch.call_on_fit_task_begin(estimator=self.estimator)

    def batch_end(self):
        """One batch is done."""
        if self.epoch is not None:
            task = self.epoch.subcontext("batch")
            task.call_on_fit_task_begin(estimator=self.estimator)
            task.call_on_fit_task_end(estimator=self.estimator)

    def epoch_end(self, metadata=None):
        """End of an epoch; True asks to stop."""
        if self.epoch is None:
            return False
        epoch, self.epoch = self.epoch, None
        return epoch.call_on_fit_task_end(estimator=self.estimator, metadata=metadata)

    def end(self):
        """End of the fit."""
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator)
