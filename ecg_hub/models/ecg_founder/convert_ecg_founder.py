"""From the published ECGFounder checkpoint to our names.

Source: Hugging Face PKUDigitalHealth/ECGFounder, `12_lead_ECGFounder.pth` (entries under "state_dict"). The names are
those of Net1D without a prefix; `dense` is the head of the 150 labels of the pre-training.
"""

from __future__ import annotations

from ecg_hub.models.ecg_founder.configuration_ecg_founder import ECGFounderConfig
from ecg_hub.models.net1d.convert_net1d import backbone_state
from ecg_hub.weights.state_dict import Conversion, StateDictMapper


def convert(entries: StateDictMapper) -> Conversion:
    """Convert the published state dict; raises CheckpointError unless every entry is accounted for."""
    config = ECGFounderConfig()
    # The authors publish it beside this one, with the same names and, but for the stem, the same shapes.
    if (entries.shape("first_conv.conv.weight") or (0, 0))[1] == 1:
        entries.fault("the stem takes 1 lead: this is the 1-lead model; take 12_lead_ECGFounder.pth")
    state = backbone_state(entries, config)
    entries.ignore({"dense.weight", "dense.bias"}.__contains__, "head of the 150 labels of the pre-training")
    entries.close()
    return Conversion(config, state)
