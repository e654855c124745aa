"""From the published ECG-JEPA checkpoint to our names.

Source: the authors' `multiblock_epoch100.pth` (or `random_epoch100.pth`, the same layout with another masking of the
pre-training): {"encoder": state dict, "epoch": int}. All 137 entries are the context encoder; there is no predictor.
"""

from __future__ import annotations

from torch import Tensor

from ecg_hub.models.ecg_jepa.configuration_ecg_jepa import ECGJEPAConfig
from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import time_and_lead_positions
from ecg_hub.weights.state_dict import Conversion, StateDictMapper


def convert(entries: StateDictMapper, config: ECGJEPAConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or ECGJEPAConfig()
    leads, patches, width = len(config.lead_names), config.max_patches, config.hidden_size
    formula, notes = time_and_lead_positions(leads, patches, width), []
    # Stored in the file although it is never trained; the file has the last word.
    stored = formula if "pos_embed" not in entries else entries.take("pos_embed", (leads * patches, width))
    state = {
        "position_embedding": stored.reshape(-1, patches, width),
        "patch_embedding.weight": entries.take("W_P.weight", (width, config.patch_size)),
        "patch_embedding.bias": entries.take("W_P.bias", (width,)),
        **_norm(entries, "norm", "norm", width),
    }
    for layer in range(config.num_hidden_layers):
        state |= _layer(entries, config, f"encoder_blocks.blocks.{layer}", f"layers.{layer}")
    entries.close()
    difference = (state["position_embedding"] - formula).abs().max().item()
    if difference > 1e-3:
        notes.append(f"the stored positions differ from their formula by {difference:.2g}")
    return Conversion(config, state, notes)


def _layer(entries: StateDictMapper, config: ECGJEPAConfig, source: str, target: str) -> dict[str, Tensor]:
    width, hidden = config.hidden_size, config.intermediate_size
    state = _norm(entries, f"{source}.norm1", f"{target}.attention_norm", width)
    state |= _norm(entries, f"{source}.norm2", f"{target}.mlp_norm", width)
    state[f"{target}.attention.qkv.weight"] = entries.take(f"{source}.attn.qkv.weight", (3 * width, width))
    for theirs, ours, outputs, inputs in (
        ("attn.proj", "attention.output", width, width),
        ("mlp.fc1", "mlp.0", hidden, width),
        ("mlp.fc2", "mlp.2", width, hidden),
    ):
        state[f"{target}.{ours}.weight"] = entries.take(f"{source}.{theirs}.weight", (outputs, inputs))
        state[f"{target}.{ours}.bias"] = entries.take(f"{source}.{theirs}.bias", (outputs,))
    return state


def _norm(entries: StateDictMapper, source: str, target: str, width: int) -> dict[str, Tensor]:
    return {f"{target}.{name}": entries.take(f"{source}.{name}", (width,)) for name in ("weight", "bias")}
