"""Mean absolute error over targets as an `evaluate` module; see `eval_harness.metrics.regression`."""

from eval_harness.metrics import modules, regression
from eval_harness.metrics.registry import MACRO_MAE
from eval_harness.metrics.registry import MAE as POOLED


class MAE(modules.OutputMetric):
    """Pooled error, mean over targets, and values of single targets."""

    about = "Mean absolute error of several targets: pooled over all known values (as published) and per target."
    returns = "mae (pooled), macro_mae (mean over targets), and per_target: one value each, NaN without known values."

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        return {
            POOLED: regression.pooled_mae(references, predictions),
            MACRO_MAE: regression.mean_mae(references, predictions),
            "per_target": regression.mae(references, predictions).tolist(),
        }
