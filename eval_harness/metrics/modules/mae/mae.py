"""Mean absolute error over targets as an `evaluate` module; see `eval_harness.metrics.regression`."""

import datasets
import evaluate

from eval_harness.metrics.regression import mae, mean_mae, pooled_mae

DESCRIPTION = "Mean absolute error of several targets: pooled over all known values (as published) and per target."
CITATION = "arXiv:2509.25095"
INPUTS = """
Args:
    predictions: one list of values per record, one per target.
    references: one list of targets per record, NaN for no target.

Returns:
    mae (pooled), macro_mae (mean over targets), and per_target: one value each, NaN without known values.
"""


class MAE(evaluate.Metric):
    """`evaluate.load(folder).compute(predictions=..., references=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        values = datasets.Sequence(datasets.Value("float32"))
        features = datasets.Features({"predictions": values, "references": values})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        return {
            "mae": pooled_mae(references, predictions),
            "macro_mae": mean_mae(references, predictions),
            "per_target": mae(references, predictions).tolist(),
        }
