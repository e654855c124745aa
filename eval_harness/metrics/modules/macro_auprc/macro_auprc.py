"""Macro average precision over labels as an `evaluate` module; see `eval_harness.metrics.ranking`."""

from eval_harness.metrics import modules
from eval_harness.metrics.ranking import average_precision, evaluable_mean
from eval_harness.metrics.registry import MACRO_AUPRC


class MacroAUPRC(modules.OutputMetric):
    """Mean and values of single labels."""

    about = "Macro average precision (AUPRC without interpolation) over labels that have both outcomes."
    returns = "macro_auprc, and auprc: one value per label, NaN where it is undefined."

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        precisions = average_precision(references, predictions)
        return {MACRO_AUPRC: evaluable_mean(precisions), "auprc": precisions.tolist()}
