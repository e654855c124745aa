"""Macro AUROC over labels as an `evaluate` module; the number is that of `eval_harness.metrics.ranking`."""

import datasets
import evaluate

from eval_harness.metrics.ranking import auroc, evaluable_mean, paper_mean

DESCRIPTION = "Macro AUROC of multi-label scores: over labels that have both outcomes, and as published (others 0.5)."
CITATION = "arXiv:2509.25095"
INPUTS = """
Args:
    predictions: one list of scores per record, one score per label.
    references: one list of targets per record: 0, 1, or NaN for no target.

Returns:
    macro_auroc, macro_auroc_paper, and auroc: one value per label, NaN where it is undefined.
"""


class MacroAUROC(evaluate.Metric):
    """`evaluate.load(folder).compute(predictions=..., references=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        values = datasets.Sequence(datasets.Value("float32"))
        features = datasets.Features({"predictions": values, "references": values})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, object]:
        areas = auroc(references, predictions)
        return {
            "macro_auroc": evaluable_mean(areas),
            "macro_auroc_paper": paper_mean(areas),
            "auroc": areas.tolist(),
        }
