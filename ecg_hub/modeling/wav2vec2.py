"""The wav2vec 2.0 encoder as HuBERT-ECG and ECG-FM use it, built from transformers' own modules.

Papers: Baevski et al., "wav2vec 2.0", arXiv 2006.11477; Hsu et al., "HuBERT", arXiv 2106.07447. transformers'
HubertModel is a copy of its Wav2Vec2Model under other names, so both models take the latter's modules, and parameters
have the names that they have there. Added are: a first convolution with any number of channels, stochastic depth in
both residual branches of a block, hidden states and attention weights for whoever asks, whatever the attention
implementation, and an initialisation that also covers the weight-normed positional convolution.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from transformers import initialization as init
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2Encoder,
    Wav2Vec2FeatureProjection,
    Wav2Vec2GroupNormConvLayer,
    Wav2Vec2NoLayerNormConvLayer,
)

from ecg_hub.modeling.configuration_utils import Wav2Vec2FamilyConfig
from ecg_hub.modeling.kernels import KeepsWeights, adopt
from ecg_hub.modeling.layers import DropPath, grouped_conv1d
from ecg_hub.modeling.modeling_utils import ECGModelOutput, ECGPreTrainedModel, mean_of_tokens, run_in_slices


class ConvStem(nn.Module):
    """Strided convolutions without padding, GELU after each; the first is normed per channel over time."""

    def __init__(self, config: Wav2Vec2FamilyConfig, channels: int) -> None:
        super().__init__()
        first = Wav2Vec2GroupNormConvLayer(config, layer_id=0)
        # transformers' class is made for a single microphone.
        first.conv = nn.Conv1d(
            channels, config.conv_dim[0], config.conv_kernel[0], stride=config.conv_stride[0], bias=config.conv_bias
        )
        rest = [Wav2Vec2NoLayerNormConvLayer(config, layer_id=index) for index in range(1, len(config.conv_dim))]
        self.conv_layers = nn.ModuleList([first, *rest])

    def forward(self, waveform: Tensor) -> Tensor:
        """Map (batch, channels, samples) to (batch, tokens, conv_dim)."""
        # Recordings are float32 whatever the weights are, and a convolution refuses to mix types.
        x = waveform.to(next(self.parameters()).dtype)
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class TokenEncoder(Wav2Vec2Encoder, KeepsWeights):
    """Positional convolution, layer norm and post-norm transformer blocks."""

    # Of transformers' class, which is not typed.
    config: Any
    pos_conv_embed: Any
    layer_norm: Any
    dropout: Any
    layers: Any

    def __init__(self, config: Wav2Vec2FamilyConfig) -> None:
        super().__init__(config)
        for block, layer in enumerate(self.layers):
            # The last operation of each residual branch is a dropout: stochastic depth goes behind it, no parameter
            # changes its name, and the block stays transformers' own.
            paths = [DropPath.for_block(config, block, len(self.layers)) for _ in range(2)]
            layer.dropout = nn.Sequential(layer.dropout, paths[0])
            layer.feed_forward.output_dropout = nn.Sequential(layer.feed_forward.output_dropout, paths[1])

    def forward(
        self, tokens: Tensor, keep: bool = False, attend: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Contextualise (batch, tokens, dim); return states of the same shape and attention weights.

        With `keep` the states are the input of the first block and the output of each, else the last output only. With
        `attend` the weights of each block are (batch, heads, tokens, tokens), else there are none.
        """
        # Post-norm: this norm stands before the blocks and none behind the last. transformers' `do_stable_layer_norm`,
        # norms before each branch and one at the end, has the same tensors and is another network.
        x = self.dropout(self.layer_norm(tokens + self._positions(tokens)))
        states: tuple[Tensor, ...] = (x,)
        weights: tuple[Tensor, ...] = ()
        for layer in self.layers:
            if attend:
                weights = (*weights, attention_weights(layer.attention, x))
            if not self._leave_out():
                x = layer(x)
            states = (*states, x) if keep else (x,)
        return states, weights

    def _positions(self, tokens: Tensor) -> Tensor:
        """Return what transformers' positional convolution gives, by a convolution that is right on every CPU."""
        embed, conv = self.pos_conv_embed, self.pos_conv_embed.conv
        x, (pad,), parts = tokens.transpose(1, 2), conv.padding, conv.parametrizations.weight
        # The weight is made of two tensors anew whenever it is asked for.
        sources = (parts.original1, parts.original0, conv.bias)
        y = self.convolve(x, sources, lambda: (conv.weight, conv.bias), padding=(pad, pad), groups=conv.groups)
        x = grouped_conv1d(x, conv.weight, conv.bias, padding=pad, groups=conv.groups) if y is None else y
        positions: Tensor = embed.activation(embed.padding(x)).transpose(1, 2)
        return positions

    def _leave_out(self) -> bool:
        rate = self.config.layerdrop
        # Drawn on the CPU: a number on the device would have to be waited for.
        return bool(self.training and rate > 0.0 and torch.rand(()) < rate)


def attention_weights(attention: Any, x: Tensor) -> Tensor:
    """Return a Wav2Vec2Attention's weights for (batch, tokens, dim) without dropout: (batch, heads, tokens, tokens)."""
    # Fused attention hands out no weights, so they are computed again from the block's input, for who asks.
    shape = (*x.shape[:2], attention.num_heads, attention.head_dim)
    query, key = (project(x).view(shape).transpose(1, 2) for project in (attention.q_proj, attention.k_proj))
    return torch.softmax(query @ key.transpose(2, 3) * attention.scaling, dim=-1)


class Wav2Vec2FamilyPreTrainedModel(ECGPreTrainedModel):
    """Base of HuBERT-ECG and ECG-FM.

    A model has `feature_extractor`, `feature_projection` and `encoder`, and says in `_tokens` what it makes of a batch.
    """

    config: Wav2Vec2FamilyConfig
    config_class = Wav2Vec2FamilyConfig
    _supports_sdpa = True
    # torch gives the weight-normed convolution a class of its own, by this name; the two tensors that its weight is
    # made of have to be on one device.
    _no_split_modules: ClassVar[list[str]] = ["Wav2Vec2EncoderLayer", "ParametrizedConv1d"]

    def _build(self, channels: int) -> None:
        """Make the three parts; to be called in `__init__`."""
        self.feature_extractor = ConvStem(self.config, channels)
        self.feature_projection = Wav2Vec2FeatureProjection(self.config)
        self.encoder = TokenEncoder(self.config)
        adopt(self)

    def _tokens(self, input_values: Tensor) -> Tensor:
        """Map (batch, leads, samples) to the input of the encoder, (batch, tokens, dim)."""
        raise NotImplementedError

    def _encode(
        self, input_values: Tensor, output_hidden_states: bool | None, output_attentions: bool | None
    ) -> ECGModelOutput:
        """Encode checked input; see the models for arguments and result."""
        config = self.config
        keep = bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        attend = bool(config.output_attentions if output_attentions is None else output_attentions)

        def stages(x: Tensor) -> tuple[Tensor, ...]:
            states, weights = self.encoder(self._tokens(x), keep, attend)
            return (*states, *weights)

        parts = run_in_slices(stages, input_values, self.training)
        count = len(parts) - (config.num_hidden_layers if attend else 0)
        states, weights = parts[:count], parts[count:]
        return ECGModelOutput(
            last_hidden_state=states[-1],
            # Over all tokens: windows are never padded, so that no mask is needed.
            pooler_output=mean_of_tokens(states[-1], 1),
            hidden_states=states if keep else None,
            attentions=weights if attend else None,
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # transformers hands the modules of a nested model to that model's own method. To the classifier's comes only
        # what it adds, and that starts as the heads of all models do.
        if self.base_model is not self:
            super()._init_weights(module)
        elif isinstance(module, ParametrizationList):
            _initialize_weight_norm(module)
        elif isinstance(module, nn.Linear | nn.Conv1d):
            if isinstance(module, nn.Linear):
                init.normal_(module.weight, std=self.config.initializer_range)
            elif not is_parametrized(module):  # else its weight is computed, and writing into it changes nothing
                init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


def _initialize_weight_norm(weight: Any) -> None:
    """Directions normal with variance 4 / (kernel * channels), scales as they follow from them."""
    # Not by way of the convolution that holds it: transformers only shows modules that have tensors of their own. One
    # scale per tap (dim 2), as published; torch's default is one per channel, which moves HuBERT-ECG's features by
    # 0.08.
    scale, direction = weight.original0, weight.original1
    init.normal_(direction, std=2.0 * (direction.shape[0] * direction.shape[2]) ** -0.5)
    init.copy_(scale, torch.norm_except_dim(direction, 2, 2))
