"""The modes: an encoder with a head, what of it is trained, and at which rate."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ecg_hub.errors import InputError
from eval_harness.config.protocol import FROZEN_MODES, Protocol
from eval_harness.models.custom_models import CustomClassifier, CustomEncoder

POOLING = {"linear": "mean", "finetune": "mean", "scratch": "mean", "frozen": "attention", "post_train": "mean"}
"""Of the modes that put a new head on the encoder."""


class AdaptedModel(nn.Module):
    """A classifier as one mode trains it.

    In the modes `linear` and `frozen` the encoder has no gradients and stays in eval mode whatever `train()` says:
    BatchNorm statistics do not change; dropout, masking and LayerDrop are off (protocol section 5).

    Attributes:
        frozen: whether the encoder is fixed; see `freeze`.
        dropout: share of the head's input that is dropped in train mode; the protocol's modes drop nothing.
    """

    def __init__(self, classifier: Any, mode: str) -> None:
        super().__init__()
        self.classifier: Any = classifier
        self.dropout = 0.0
        # Some encoders hold tables that are never trained: what is let go again is only what was trained before.
        self._trainable = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        self.freeze(mode in FROZEN_MODES)

    @property
    def encoder(self) -> nn.Module:
        """The pre-trained part."""
        encoder: nn.Module = self.classifier.base_model
        return encoder

    @property
    def head(self) -> nn.Module:
        """The part that is new for the task."""
        head: nn.Module = self.classifier.head
        return head

    def freeze(self, frozen: bool) -> None:
        """Fix the encoder, or let it train again; leaves the model in train mode."""
        self.frozen = frozen
        for parameter in self._trainable:
            parameter.requires_grad_(not frozen)
        self.train()

    @property
    def expects(self) -> str:
        """What the head takes: "pooled" (batch, dim) or "tokens" (batch, tokens, dim)."""
        return str(self.classifier.head.expects)

    def train(self, mode: bool = True) -> AdaptedModel:
        """Set train or eval mode; a frozen encoder stays in eval mode."""
        if not self.frozen:
            return super().train(mode)
        self.training = self.classifier.training = mode
        for part in self.classifier.children():
            if part is not self.encoder:
                part.train(mode)
        # Only where it is needed: to set the mode of every part twice an epoch costs S4 its kernels each time.
        if any(module.training for module in self.encoder.modules()):
            self.encoder.eval()
        return self

    def encode(self, input_values: torch.Tensor) -> torch.Tensor:
        """Features of windows (batch, leads, samples) in the form the head takes."""
        # No graph through a fixed encoder: its activations would fill the memory for nothing.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            output = self.encoder(input_values)
        features: torch.Tensor = output.pooler_output if self.expects == "pooled" else output.last_hidden_state
        if self.training and torch.is_grad_enabled() and not self.frozen and not features.requires_grad:
            raise InputError(
                "The encoder gives features without gradients, so that its head alone would train: leave "
                "torch.no_grad, detach and numpy out of encode(), or take a mode that fixes the encoder: "
                f"{', '.join(sorted(FROZEN_MODES))}."
            )
        return features

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (batch, outputs) of features; NaN becomes 0 as published."""
        return torch.nan_to_num(self.logits(features), nan=0.0)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of features as they come, with NaN."""
        if self.training and self.dropout:
            features = functional.dropout(features, self.dropout)
        if not self.frozen:
            logits: torch.Tensor = self.head(features)
            return logits
        # Of a fixed encoder the head costs nothing: in 16 bit it would only round logits until records tie.
        with torch.autocast(features.device.type, enabled=False):
            exact: torch.Tensor = self.head(features.float())
            return exact

    def forward(self, values: torch.Tensor, encoded: bool = False) -> torch.Tensor:
        """Logits (batch, outputs) of windows (batch, leads, samples), or of their features when they are `encoded`."""
        return self.classify(values if encoded else self.encode(values))

    @property
    def trained_parameters(self) -> int:
        """How many numbers training can change."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Copies of all tensors that training can change: the head's, or everything's."""
        # The state dict, not the parameters: batch norms keep running statistics, which training changes too.
        part = self.head if self.frozen else self.classifier
        # cpu() of a tensor on the CPU is that tensor, and it would go on training: hence clone().
        return {name: tensor.detach().cpu().clone() for name, tensor in part.state_dict().items()}

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        """Put back what trained_state gave."""
        (self.head if self.frozen else self.classifier).load_state_dict(state, strict=True)


def adapt(
    encoder: Any,
    mode: str,
    labels: Sequence[str],
    problem_type: str,
    protocol: Protocol,
    classes: int | None = None,
) -> AdaptedModel:
    """Put a new head on an encoder for one mode."""
    if isinstance(encoder, CustomEncoder):
        return _adapt_custom(encoder, mode, len(labels), protocol)
    from ecg_hub import AutoModelForECGClassification

    # The encoder serves all jobs of a model: neither its configuration nor its weights may change here.
    config = copy.deepcopy(encoder.config)
    config.num_labels = len(labels)
    # After num_labels, whose setter names the labels LABEL_0, LABEL_1 ...
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = problem_type
    # A head of the authors stays behind, and with it what is said of its outputs.
    config.forget_head()
    config.num_classification_labels = classes if problem_type == "mixed" else None
    config.pooling = POOLING[mode]
    config.num_attention_pooling_heads = protocol.attention_heads
    classifier = AutoModelForECGClassification.from_config(config)
    # Drawn at random was the classifier; its encoder is what it was.
    classifier.config.random_weights = encoder.config.random_weights
    # strict: an encoder with one random layer scores like a bad model, without a word.
    classifier.base_model.load_state_dict(encoder.state_dict(), strict=True)
    return AdaptedModel(classifier, mode)


def _adapt_custom(encoder: CustomEncoder, mode: str, labels: int, protocol: Protocol) -> AdaptedModel:
    if encoder.module is None and mode not in FROZEN_MODES:
        allowed = ", ".join(sorted(FROZEN_MODES))
        raise InputError(f"Mode {mode!r} trains the encoder, and this one is no nn.Module; allowed: {allowed}.")
    # A copy, as for the hub's models; an object that is no module cannot be trained, and need not be one that copies.
    own = encoder if encoder.module is None else copy.deepcopy(encoder).requires_grad_(True)
    return AdaptedModel(CustomClassifier(own, POOLING[mode], labels, protocol.attention_heads), mode)


def parameter_groups(model: AdaptedModel, mode: str, protocol: Protocol) -> list[dict[str, Any]]:
    """Parameter groups for AdamW, with their rates.

    `finetune`: head / late / early layers at 1 / factor / factor^2 of the rate, by the prefixes in the encoder's
    `config.layer_groups`. Other modes: one group of all that is trained.
    """
    rate = protocol.learning_rate
    if mode != "finetune":
        trained = [p for p in model.parameters() if p.requires_grad]
        return [{"params": trained, "lr": rate, "name": "all"}]
    late, early = _split_by_prefix(model.encoder)
    return [
        {"params": list(model.head.parameters()), "lr": rate, "name": "head"},
        {"params": late, "lr": rate * protocol.layer_rate_factor, "name": "late"},
        {"params": early, "lr": rate * protocol.layer_rate_factor**2, "name": "early"},
    ]


def _split_by_prefix(encoder: Any) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    parts: dict[str, list[nn.Parameter]] = {"late": [], "early": []}
    for name, parameter in encoder.named_parameters():
        # Asked of fixed parameters too: a configuration that forgets one is wrong, whatever trains here.
        home = layer_group(encoder, name)
        if parameter.requires_grad:
            parts[home].append(parameter)
    return parts["late"], parts["early"]


def layer_group(encoder: Any, name: str) -> str:
    """The layer group of a parameter of an encoder: "late" or "early"."""
    groups: dict[str, Sequence[str]] = encoder.config.layer_groups
    homes = list(_homes(name, groups))
    if len(homes) != 1:
        raise InputError(
            f"Parameter {name!r} of {type(encoder).__name__} is in {len(homes)} layer groups, not one: it would "
            f"not train at a known rate. Fix layer_groups in its config: {groups!r}."
        )
    return homes[0]


def _homes(name: str, groups: dict[str, Sequence[str]]) -> Iterator[str]:
    for group, prefixes in groups.items():
        if any(name.startswith(prefix) for prefix in prefixes):
            yield group
