"""From the published MELP checkpoint to our names.

Source: Hugging Face fuyingw/MELP_Encoder, `model.safetensors` in bfloat16. The encoder's entries begin with
`ecg_encoder.ecg_encoder.`, those of the queries with `ecg_encoder.`; in a Lightning checkpoint of the ECG side alone
each has one prefix less. The number of queries is read off the file: 14 as published, 12 in the authors' reproduction.
"""

from __future__ import annotations

from torch import Tensor

from ecg_hub.modeling.vit import take_norm
from ecg_hub.models.ecg_fm.convert_ecg_fm import take_encoder
from ecg_hub.models.melp.configuration_melp import MELPConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_PREFIX = "ecg_encoder."
_UNUSED = ("attn_pool_caption.", "ln_caption.", "proj_contrast", "logit_scale", "bn.")
_POOL = "attn_pool_contrast"


def convert(entries: StateDictMapper, config: MELPConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    outer = _PREFIX if any(name.startswith(_PREFIX + _POOL) for name in entries.names) else ""
    stored = entries.shape(f"{outer}{_POOL}.query")
    config = config or MELPConfig()
    config.num_queries = config.num_queries if stored is None else stored[0]
    encoder = take_encoder(entries, outer + _PREFIX, config.encoder_config())
    state = {f"encoder.{name}": tensor for name, tensor in encoder.items()} | _pooler(entries, outer, config)
    entries.ignore(lambda name: name.startswith(tuple(outer + part for part in _UNUSED)), "captions and the loss")
    if outer:
        entries.ignore(lambda name: not name.startswith(outer), "outside the ECG side: only the pre-training used it")
    entries.close()
    return Conversion(config, state, [f"{config.num_queries} queries"])


def _pooler(entries: StateDictMapper, outer: str, config: MELPConfig) -> dict[str, Tensor]:
    width, inner = config.hidden_size, config.encoder_hidden_size
    source, attention = f"{outer}{_POOL}", f"{outer}{_POOL}.attn"
    state = {"pooler.query": entries.take(f"{source}.query", (config.num_queries, width))}
    for theirs, ours, size in (
        (f"{source}.ln_q", "query_norm", width),
        (f"{source}.ln_k", "token_norm", inner),
        (f"{outer}ln_contrast", "norm", width),
    ):
        state |= take_norm(entries, theirs, f"pooler.{ours}", size)
    for name, shape in (
        ("q_proj_weight", (width, width)),
        ("k_proj_weight", (width, inner)),
        ("v_proj_weight", (width, inner)),
        ("in_proj_bias", (3 * width,)),
        ("out_proj.weight", (width, width)),
        ("out_proj.bias", (width,)),
    ):
        state[f"pooler.attention.{name}"] = entries.take(f"{attention}.{name}", shape)
    return state
