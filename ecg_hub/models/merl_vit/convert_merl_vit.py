"""From the published MERL-ViT checkpoint to our names.

Source: the authors' Google Drive folder. `vit_tiny_best_encoder.pth` is the state dict of the encoder itself; the file
of the whole model (`vit_tiny_best_ckpt.pth`) has the same entries under the prefix `ecg_encoder.` beside the report
side of the pre-training, which is left out. Both are accepted.
"""

from __future__ import annotations

from ecg_hub.modeling.vit import take_norm, take_pre_norm_layer
from ecg_hub.models.merl_vit.configuration_merl_vit import MERLViTConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_WHOLE = "ecg_encoder."


def convert(entries: StateDictMapper, config: MERLViTConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or MERLViTConfig()
    width, patch = config.hidden_size, config.patch_size
    prefix = _WHOLE if any(name.startswith(_WHOLE) for name in entries.names) else ""
    positions = entries.take(f"{prefix}pos_embedding", (1, config.max_patches, width))
    shape = (width, len(config.lead_names), patch)
    state = {
        "patch_embedding.weight": entries.take(f"{prefix}to_patch_embedding.weight", shape),
        "position_embedding": positions.reshape(-1, width),
    }
    for layer in range(config.num_hidden_layers):
        source, sizes = f"{prefix}block{layer}", (width, config.intermediate_size)
        state |= take_pre_norm_layer(entries, source, f"layers.{layer}", *sizes)
    state |= take_norm(entries, f"{prefix}norm", "norm", width)
    entries.ignore(lambda name: name.startswith(f"{prefix}head."), "a head that the pre-training does not use")
    if prefix:
        entries.ignore(lambda name: not name.startswith(prefix), "outside the encoder: only the pre-training used it")
    entries.close()
    notes = [f"the file of the whole model: the encoder is what begins with {prefix!r}"] if prefix else []
    return Conversion(config, state, notes)
