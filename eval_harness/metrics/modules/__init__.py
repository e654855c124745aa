"""Thin `evaluate` modules over the metrics, one folder each: `evaluate.load(str(folder))` works offline.

`evaluate` copies the file of a folder elsewhere and takes the first metric class in it; what the three share is here,
reached as `modules.OutputMetric`, so that it is not taken for theirs.
"""

import datasets
import evaluate

CITATION = "arXiv:2509.25095"
ARGUMENTS = """
Args:
    predictions: one list of values per record, one for each output: scores of labels, or predicted values.
    references: one list of targets per record: 0 or 1, or values; NaN for no target.

Returns:
    """


class OutputMetric(evaluate.Metric):
    """`evaluate.load(folder).compute(predictions=..., references=...)`; a subclass says what it is and computes."""

    about: str
    returns: str

    def _info(self) -> evaluate.MetricInfo:
        values = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=self.about,
            citation=CITATION,
            inputs_description=f"{ARGUMENTS}{self.returns}\n",
            features=datasets.Features({"predictions": values, "references": values}),
        )
