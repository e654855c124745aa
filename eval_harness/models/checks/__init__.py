"""The model contract as checks that run on anybody's model: `ecg-hub validate-model`, `eval_harness.validate_model`."""
