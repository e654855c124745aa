"""From the published ECG-FM checkpoint to our names.

Source: Hugging Face wanglab/ecg-fm, `mimic_iv_ecg_physionet_pretrained.pt`: a fairseq checkpoint with the weights under
"model" beside the optimiser's state and omegaconf objects. The weight-normed positional convolution is spelt in one of
two ways, depending on the version of PyTorch that wrote the file. Fine-tuned files have the same names after `encoder.`
and the head under `proj.`; those of MELP have them after `ecg_encoder.`, once in a Lightning checkpoint of the ECG side
alone and twice in the whole model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ecg_hub.models.ecg_fm.configuration_ecg_fm import ECGFMConfig
from ecg_hub.models.ecg_fm.modeling_ecg_fm import ECGFMModel
from ecg_hub.weights.state_dict import Conversion, StateDictMapper, weight_norm_name

_PRETRAINING = ("mask_emb", "quantizer.", "project_q.", "final_proj.")
_RENAMED = (
    ("feature_extractor.conv_layers.0.layer_norm.", "feature_extractor.conv_layers.0.2."),
    (".conv.weight", ".0.weight"),
    ("feature_projection.layer_norm.", "layer_norm."),
    ("feature_projection.projection.", "post_extract_proj."),
    ("encoder.pos_conv_embed.conv.", "conv_pos.pos_conv.0."),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
)


_TUNED, _MELP = "encoder.", "ecg_encoder."


def convert(entries: StateDictMapper, config: ECGFMConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or ECGFMConfig()
    prefix = _prefix(entries)
    state = take_encoder(entries, prefix, config)
    if prefix == _TUNED:
        entries.set_head_aside("proj.")
    elif prefix:
        entries.ignore(lambda name: not name.startswith(prefix), "outside the encoder: poolers and losses of MELP")
    entries.close()
    note = "blocks are post-norm, as in the authors' recipe: shapes cannot tell, and the stored settings are not read"
    return Conversion(config, state, [note])


def take_encoder(entries: StateDictMapper, prefix: str, config: ECGFMConfig) -> dict[str, Tensor]:
    """Take the entries of an encoder under a prefix, and ignore those of its pre-training."""
    # Only names and shapes are wanted: on the meta device nothing is allocated or drawn.
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in ECGFMModel(config).state_dict().items()}
    # By name, though the published loader drops them without a word even when it is strict.
    unused = tuple(prefix + part for part in _PRETRAINING)
    entries.ignore(lambda name: name.startswith(unused), "quantizer and heads of the pre-training")
    return {
        name: entries.take(weight_norm_name(prefix + published_name(name), entries), shape)
        for name, shape in shapes.items()
    }


def _prefix(entries: StateDictMapper) -> str:
    """What stands before the names of the encoder, decided by a name of each layout."""
    # The pre-trained file has names that begin with `encoder.` too, so the prefix itself decides nothing.
    inside = "encoder.layer_norm.weight"
    return next((prefix for prefix in (2 * _MELP, _MELP, _TUNED) if prefix + inside in entries), "")


def published_name(name: str) -> str:
    """Return the published name, in the newer spelling of weight norm, of one of our entries."""
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    # Within a block, the norm after attention; `encoder.layer_norm.` keeps its name.
    if name.startswith("encoder.layers."):
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name
