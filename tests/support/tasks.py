"""A user's task file that is valid, for tests to spoil."""

from __future__ import annotations

from typing import Any

import yaml

GOOD = """\
name: my_infarction
version: 1
title: Infarction
description: Two kinds of infarction.
category: adult_interpretation
dataset: ptb-xl
run: ptbxl_all
label_column: label_all
kind: multi_label_classification
metric: macro_auroc
higher_is_better: true
resample_unit: record
citation: ours
labels: [AMI, IMI]
"""


def with_changes(**changes: Any) -> str:
    """The task file with other values of some fields."""
    return yaml.safe_dump({**yaml.safe_load(GOOD), **changes}, sort_keys=False)
