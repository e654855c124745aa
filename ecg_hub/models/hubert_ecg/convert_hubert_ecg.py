"""From the published HuBERT-ECG checkpoint to our names.

Source: Hugging Face Edoardo-BS/hubert-ecg-base, `model.safetensors` (the benchmark renamed it to
`hubert_ecg_base.safetensors`); the authors' `.pt` files hold the same under "model_state_dict". Names are those of
transformers' HubertModel without a prefix, and stay. The weight-normed positional convolution is spelt in one of two
ways, depending on the version of PyTorch that wrote the file. Fine-tuned files of the authors' package 1.0.0 have the
same names after `hubert_ecg.`, the head under `classifier.`, and no mask vector where nothing was masked. The number of
heads of the attention shows in no shape: it comes from the configuration.
"""

from __future__ import annotations

import torch

from ecg_hub.models.hubert_ecg.configuration_hubert_ecg import HuBERTECGConfig
from ecg_hub.models.hubert_ecg.modeling_hubert_ecg import HuBERTECGModel
from ecg_hub.weights.state_dict import Conversion, StateDictMapper, weight_norm_name

_HEADS = ("final_proj.", "label_embedding.")
_TUNED = "hubert_ecg."
_MASK = "masked_spec_embed"


def convert(entries: StateDictMapper, config: HuBERTECGConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or HuBERTECGConfig()
    prefix = _TUNED if any(name.startswith(_TUNED) for name in entries.names) else ""
    # Only names and shapes are wanted: on the meta device nothing is allocated or drawn.
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in HuBERTECGModel(config).state_dict().items()}
    notes = []
    if prefix and prefix + _MASK not in entries:
        del shapes[_MASK]
        notes.append("no mask vector in the file: masking in fine-tuning would put zeros in its place")
    state = {name: entries.take(weight_norm_name(prefix + name, entries), shape) for name, shape in shapes.items()}
    state.setdefault(_MASK, torch.zeros(config.hidden_size))
    # The published loader is not strict: with the other spelling of weight norm it would leave that convolution random.
    if prefix:
        entries.set_head_aside("classifier.", "label_embedding.")
    else:
        entries.ignore(lambda name: name.startswith(_HEADS), "head of the pre-training on cluster labels")
    entries.close()
    return Conversion(config, state, notes)
