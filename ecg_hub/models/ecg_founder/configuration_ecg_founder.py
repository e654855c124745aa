"""Configuration of ECGFounder."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from huggingface_hub.dataclasses import strict

from ecg_hub.models.net1d.configuration_net1d import Net1DConfig


@strict
class ECGFounderConfig(Net1DConfig):
    """Configuration of ECGFounder: that of Net1D, whose defaults are the published model too."""

    model_type = "ecg_founder"
