"""From the published ECGFounder checkpoint to our names.

Source: Hugging Face PKUDigitalHealth/ECGFounder, `12_lead_ECGFounder.pth` (entries under "state_dict"). The names are
those of Net1D without a prefix; `dense` is the head of the 150 labels of the pre-training. `1_lead_ECGFounder.pth`
beside it has the same names and, but for the stem, the same shapes.
"""

from __future__ import annotations

from ecg_hub.models.ecg_founder.configuration_ecg_founder import ECGFounderConfig
from ecg_hub.models.net1d.convert_net1d import backbone_state
from ecg_hub.weights.state_dict import Conversion, StateDictMapper


def convert(entries: StateDictMapper, config: ECGFounderConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or ECGFounderConfig()
    state = backbone_state(entries, config)
    entries.set_head_aside("dense.weight", "dense.bias")
    entries.close()
    return Conversion(config, state)
