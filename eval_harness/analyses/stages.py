"""The stages of an encoder by name, and one vector per window of each: the mean over tokens.

Named as the architectures are drawn: conv1 to conv4 and s4_1 to s4_4 (ECG-CPC), stem and stage0 to stage6 (Net1D,
ECGFounder), stem and layer1 to layer4 (MERL, ECGFM-KED), embedding and block1 to block12 (transformers), and `norm`
where a last norm stands between the last block and what heads are given. Encoders that are not ours have one stage,
`output`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

STEMS = {"net1d": ("stem", "stage", 0), "ecg_founder": ("stem", "stage", 0)}
STEMS |= {"merl": ("stem", "layer", 1), "ecgfm_ked": ("stem", "layer", 1)}
STEMS |= dict.fromkeys(("ecg_jepa", "st_mem", "ecg_fm", "hubert_ecg"), ("embedding", "block", 1))
STEMS |= {"ecg_s4": ("encoder", "s4_", 1), "ecg_cpc": ("conv", "s4_", 1)}
"""Model type -> name of the first hidden state, name of the others, number of the first of these."""

NORMED = frozenset({"ecg_jepa", "st_mem"})
"""Model types with a norm behind the last hidden state."""

ANY_STEM = ("stem", "stage", 1)
"""For a model type added by somebody else."""


class Stages:
    """Gives the stages of an encoder.

    Args:
        encoder: a base model in eval mode, or an encoder that is not ours.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.kind = str(encoder.config.model_type)
        self.ours = hasattr(encoder.config, "output_hidden_states")

    def __call__(self, values: Tensor) -> dict[str, Tensor]:
        """Encode windows.

        Args:
            values: (windows, leads, samples).

        Returns:
            Stage -> (windows, width) float32, means over tokens; the stages in their order.
        """
        with torch.inference_mode():
            if not self.ours:
                return {"output": self.encoder(values).pooler_output.float()}
            early = _Watched(self._convolutions())
            with early:
                output = self.encoder(values, output_hidden_states=True, return_dict=True)
            found = early.means()
            states = output.hidden_states[1:] if found else output.hidden_states
            found |= dict(zip(self._names(len(states), bool(found)), map(self._mean, states), strict=True))
            if self.kind in NORMED:
                found["norm"] = output.pooler_output
            return {name: value.float() for name, value in found.items()}

    def _convolutions(self) -> dict[str, Any]:
        """The layers that are looked into because the hidden states begin behind all of them."""
        if self.kind != "ecg_cpc":
            return {}
        return {f"conv{number}": layer for number, layer in enumerate(self.encoder.encoder.layers, start=1)}

    def _names(self, states: int, without_stem: bool) -> list[str]:
        stem, other, first = STEMS.get(self.kind, ANY_STEM)
        numbered = [f"{other}{first + k}" for k in range(states if without_stem else states - 1)]
        return numbered if without_stem else [stem, *numbered]

    def _mean(self, state: Tensor) -> Tensor:
        """Mean over tokens; the separators of ST-MEM, two per lead, are no part of the signal and left out."""
        if self.kind == "st_mem":
            leads = len(self.encoder.config.lead_names)
            batch, tokens, width = state.shape
            state = state.reshape(batch, leads, tokens // leads, width)[:, :, 1:-1].flatten(1, 2)
        return state.mean(dim=1)


class _Watched:
    """Collects the outputs of modules while an encoder runs, which may take a batch in several slices."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self.modules = modules
        self.seen: dict[str, list[Tensor]] = {name: [] for name in modules}
        self._handles: Sequence[Any] = ()

    def __enter__(self) -> None:
        self._handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            del module, inputs
            self.seen[name].append(output.mean(dim=1))

        return keep

    def means(self) -> dict[str, Tensor]:
        """Module -> (windows, width)."""
        return {name: torch.cat(parts) for name, parts in self.seen.items()}
