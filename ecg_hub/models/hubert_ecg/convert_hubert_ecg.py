"""From the published HuBERT-ECG checkpoint to our names.

Source: Hugging Face Edoardo-BS/hubert-ecg-base, `model.safetensors` (the benchmark renamed it to
`hubert_ecg_base.safetensors`); the authors' `.pt` files hold the same under "model_state_dict". Names are those of
transformers' HubertModel without a prefix, and stay. The weight-normed positional convolution is spelt in one of two
ways, depending on the version of PyTorch that wrote the file.
"""

from __future__ import annotations

import torch

from ecg_hub.models.hubert_ecg.configuration_hubert_ecg import HuBERTECGConfig
from ecg_hub.models.hubert_ecg.modeling_hubert_ecg import HuBERTECGModel
from ecg_hub.weights.state_dict import Conversion, StateDictMapper, weight_norm_name

_HEADS = ("final_proj.", "label_embedding.")


def convert(entries: StateDictMapper) -> Conversion:
    """Convert the published state dict; raises CheckpointError unless every entry is accounted for."""
    config = HuBERTECGConfig()
    # Only names and shapes are wanted: on the meta device nothing is allocated or drawn.
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in HuBERTECGModel(config).state_dict().items()}
    state = {name: entries.take(weight_norm_name(name, entries), shape) for name, shape in shapes.items()}
    # The published loader is not strict: with the other spelling of weight norm it would leave that convolution random.
    entries.ignore(lambda name: name.startswith(_HEADS), "head of the pre-training on cluster labels")
    entries.close()
    return Conversion(config, state)
