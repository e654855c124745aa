"""Macro AUROC over labels as an `evaluate` module; the number is that of `eval_harness.metrics.ranking`."""

from eval_harness.metrics import modules
from eval_harness.metrics.ranking import auroc, evaluable_mean, paper_mean
from eval_harness.metrics.registry import MACRO_AUROC, MACRO_AUROC_PAPER


class MacroAUROC(modules.OutputMetric):
    """Both readings of the mean, and values of single labels."""

    about = "Macro AUROC of multi-label scores: over labels that have both outcomes, and as published (others 0.5)."
    returns = "macro_auroc, macro_auroc_paper, and auroc: one value per label, NaN where it is undefined."

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        areas = auroc(references, predictions)
        return {MACRO_AUROC: evaluable_mean(areas), MACRO_AUROC_PAPER: paper_mean(areas), "auroc": areas.tolist()}
