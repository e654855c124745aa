"""What the programs that tests fork need; imported once, by the process that forks them (`tests.support.forked`)."""

import gc

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import scipy.signal  # noqa: F401
import transformers.feature_extraction_sequence_utils  # noqa: F401

import dataset_scripts.load
import dataset_scripts.reader  # noqa: F401
import ecg_hub.input.formats
import ecg_hub.models.ecg_cpc.modeling_ecg_cpc  # noqa: F401
import eval_harness.analyses
import eval_harness.cli.eval.main
import eval_harness.cli.hub.main
import eval_harness.pretrain.run
import eval_harness.runner.run  # noqa: F401

# Else each search for garbage, of which a run does one after every task, goes through all that was imported.
gc.freeze()
