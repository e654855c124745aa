"""From the published ST-MEM checkpoint to our names.

Source: the authors' `st_mem_vit_base_full.pth`, the whole pre-training model under "model": the encoder's 166 entries
begin with `encoder.`, the decoder is left out. The authors' encoder-only file, the same entries without that prefix, is
read as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ecg_hub.modeling.vit import take_norm, take_pre_norm_layer
from ecg_hub.models.st_mem.configuration_st_mem import STMEMConfig
from ecg_hub.models.st_mem.modeling_st_mem import time_positions
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_DECODER = (
    "to_decoder_embedding.",
    "mask_embedding",
    "decoder_pos_embed",
    "decoder_blocks.",
    "decoder_norm.",
    "decoder_head.",
)


def convert(entries: StateDictMapper, config: STMEMConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or STMEMConfig()
    # In the whole model's file the same name stands behind the prefix `encoder.`.
    encoder_only = "sep_embedding" in entries
    prefix = "" if encoder_only else "encoder."
    state = _embeddings(entries, config, prefix)
    for layer in range(config.num_hidden_layers):
        sizes = (config.hidden_size, config.intermediate_size)
        state |= take_pre_norm_layer(entries, f"{prefix}block{layer}", f"layers.{layer}", *sizes)
    state |= take_norm(entries, f"{prefix}norm", "norm", config.hidden_size)
    if not encoder_only:
        entries.ignore(lambda name: name.startswith(_DECODER), "decoder of the pre-training")
        entries.ignore(lambda name: name.startswith("to_patch_embedding."), "the patch embedding, stored twice")
    entries.close()
    kind = "the encoder-only file" if encoder_only else "the encoder of the pre-training model"
    return Conversion(config, state, [f"read as {kind}", *_table_notes(state["embeddings.position_embedding"])])


def _embeddings(entries: StateDictMapper, config: STMEMConfig, prefix: str) -> dict[str, Tensor]:
    width, patch, source = config.hidden_size, config.patch_size, f"{prefix}to_patch_embedding"
    leads = [entries.take(f"{prefix}lead_embeddings.{lead}", (width,)) for lead in range(len(config.lead_names))]
    return {
        "embeddings.position_embedding": _positions(entries, config, f"{prefix}pos_embedding"),
        "embeddings.separator": entries.take(f"{prefix}sep_embedding", (width,)),
        "embeddings.lead_embedding": _stack(leads),
        **take_norm(entries, f"{source}.1", "embeddings.patch_norm", patch),
        "embeddings.projection.weight": entries.take(f"{source}.2.weight", (width, patch)),
        "embeddings.projection.bias": entries.take(f"{source}.2.bias", (width,)),
        **take_norm(entries, f"{source}.3", "embeddings.projection_norm", width),
    }


def _positions(entries: StateDictMapper, config: STMEMConfig, name: str) -> Tensor:
    if name not in entries:
        return time_positions(config.max_patches, config.hidden_size)
    return entries.take(name, (1, config.max_patches + 2, config.hidden_size)).reshape(-1, config.hidden_size)


def _stack(vectors: list[Tensor]) -> Tensor:
    """Stack the lead embeddings; a missing one is in the ledger already and leaves an empty tensor here."""
    return torch.stack(vectors) if len({vector.shape for vector in vectors}) == 1 else Tensor()


def _table_notes(stored: Tensor) -> list[str]:
    """Say so if the stored positions are not the published formula's."""
    difference = (stored - time_positions(len(stored) - 2, stored.shape[1])).abs().max().item()
    return [f"the stored positions differ from their formula by {difference:.2g}"] if difference > 1e-3 else []
