"""Macro average precision over labels as an `evaluate` module; see `eval_harness.metrics.ranking`."""

import datasets
import evaluate

from eval_harness.metrics.ranking import average_precision, evaluable_mean

DESCRIPTION = "Macro average precision (AUPRC without interpolation) over labels that have both outcomes."
CITATION = "arXiv:2509.25095"
INPUTS = """
Args:
    predictions: one list of scores per record, one score per label.
    references: one list of targets per record: 0, 1, or NaN for no target.

Returns:
    macro_auprc, and auprc: one value per label, NaN where it is undefined.
"""


class MacroAUPRC(evaluate.Metric):
    """`evaluate.load(folder).compute(predictions=..., references=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        values = datasets.Sequence(datasets.Value("float32"))
        features = datasets.Features({"predictions": values, "references": values})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        precisions = average_precision(references, predictions)
        return {"macro_auprc": evaluable_mean(precisions), "auprc": precisions.tolist()}
