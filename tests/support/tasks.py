"""A user's task file that is valid, for tests to spoil."""

from __future__ import annotations

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
