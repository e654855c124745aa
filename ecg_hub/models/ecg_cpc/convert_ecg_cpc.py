"""From the published ECG-CPC checkpoint to our names.

Source: figshare 30192604, `last_11597276.ckpt` (a Lightning checkpoint, entries under "state_dict"). 76 entries are the
encoder; the projection of the contrastive loss is left out. The length that the stored C of S4 belongs to is read off
the frequencies `omega`, which are then dropped, as they follow from it. The checkpoints of the comparison of
pre-training strategies have the same names; those with a teacher hold it under `ts_encoder.ema.`, and the student,
which is what the authors evaluate, is taken.
"""

from __future__ import annotations

from torch import Tensor

from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper, take_s4_block

HEAD = "ts_encoder.head_ssl.proj.0.weight"
_CONV, _S4 = "ts_encoder.encoder.", "ts_encoder.predictor.predictor."
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def convert(entries: StateDictMapper, config: ECGCPCConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or ECGCPCConfig()
    config.kernel_length = _kernel_length(entries, config)
    state = _conv_encoder(entries, config)
    for block in range(config.num_hidden_layers):
        state |= take_s4_block(
            entries,
            _S4,
            f"predictor.{block}",
            block,
            width=config.hidden_size,
            state_size=config.state_size,
            channels=2 if config.bidirectional else 1,
            length=config.kernel_length,
        )
    # An entry keeps the first reason that it gets, so the particular one comes first.
    entries.ignore(lambda name: name.startswith("ts_encoder.head_ssl."), "projection of the contrastive loss")
    entries.ignore(lambda name: not name.startswith((_CONV, _S4)), "outside the encoder: only the pre-training used it")
    entries.close()
    note = f"S4 kernels belong to {config.kernel_length} tokens (from the shape of omega)"
    return Conversion(config, state, [note])


def convert_for_pretraining(entries: StateDictMapper) -> Conversion:
    """Convert into ECGCPCForPreTraining, with the projection of the contrastive loss, so that training can go on."""
    # First, because `convert` ignores this entry and closes the ledger.
    width = ECGCPCConfig().hidden_size
    projection = entries.take(HEAD, (width, width))
    conversion = convert(entries)
    state = {f"ecg_cpc.{name}": tensor for name, tensor in conversion.state.items()}
    return Conversion(conversion.config, {**state, "projections.0.weight": projection}, conversion.notes)


def _kernel_length(entries: StateDictMapper, config: ECGCPCConfig) -> int:
    # L0 / 2 + 1 frequencies. In the published loader too they win over the length that a configuration gives; a wrong
    # length is off by 0.6 in the features.
    shape = entries.shape(f"{_S4}s4_layers.0.kernel.kernel.omega")
    return config.kernel_length if shape is None else 2 * (shape[0] - 1)


def _conv_encoder(entries: StateDictMapper, config: ECGCPCConfig) -> dict[str, Tensor]:
    width, state = config.hidden_size, {}
    for layer in range(config.num_conv_layers):
        source, target = f"{_CONV}layers.{layer}", f"encoder.layers.{layer}"
        inputs = (len(config.lead_names), config.conv_kernel_size) if layer == 0 else (width, 1)
        state[f"{target}.conv.weight"] = entries.take(f"{source}.0.weight", (width, *inputs))
        for name in _STATISTICS:
            state[f"{target}.norm.{name}"] = entries.take(f"{source}.1.{name}", (width,))
        state[f"{target}.norm.num_batches_tracked"] = entries.take(f"{source}.1.num_batches_tracked", ())
    return state
