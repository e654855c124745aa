"""What all models share: outputs, strict loading, input checks, initialisation, the classifier around an encoder."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.modeling.configuration_utils import ECGConfig
from ecg_hub.modeling.heads import AttentionPoolingHead, MeanLinearHead, build_head, classification_loss
from ecg_hub.modeling.layers import DropPath, set_drop_path
from ecg_hub.origin import withheld

__all__ = [
    "DropPath",
    "ECGClassificationMixin",
    "ECGConfig",
    "ECGModelOutput",
    "ECGPreTrainedModel",
    "initialize_as_torch",
    "mean_of_tokens",
    "run_in_slices",
    "set_drop_path",
]

logger = logging.getLogger(__name__)

_HEAD_PREFIX = "head."
_CPU_SLICE = 16


@dataclass
class ECGModelOutput(ModelOutput):
    """Output of an encoder.

    Attributes:
        last_hidden_state: tokens, (batch, tokens, dim).
        pooler_output: one vector per window, (batch, dim), pooled as the published model does.
        hidden_states: output of each stage, if asked for.
        attentions: attention weights of each layer, if asked for and if the model has any.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class ECGPreTrainedModel(PreTrainedModel):
    """Base of all models: input checks, PyTorch's own initialisation, and loading that refuses random weights.

    NaN samples are the extractor's matter: an encoder passes them on, so that they show in its output, because finding
    them here would make every batch wait for the device.
    """

    main_input_name = "input_values"
    input_modalities = "time"
    supports_gradient_checkpointing = True
    _sends_extractor = False
    head_prefix: ClassVar[str | tuple[str, ...]] = _HEAD_PREFIX
    """Names of the weights that `new_head=True` may leave random."""
    # An encoder is also loaded from a classifier's folder: the head that it leaves there is nothing to warn about.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^head\."]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, new_head: bool = False, **kwargs: Any
    ) -> Any:
        """Load weights as transformers does, but refuse a checkpoint that leaves weights at random values."""
        want_info = kwargs.pop("output_loading_info", False)
        # A head for another number of labels has other shapes. What is not wanted so is refused below, by its name and
        # with what helps, where transformers would name an option that lets an encoder of other shapes pass as well.
        kwargs["ignore_mismatched_sizes"] = True
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        # transformers only logs what the checkpoint lacks, and goes on with random weights.
        fresh = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
        fresh_head = {key for key in fresh if key.startswith(cls.head_prefix)}
        refused = sorted(fresh - fresh_head if new_head else fresh)
        if refused:
            raise CheckpointError(_missing_text(model, pretrained_model_name_or_path, refused))
        if hasattr(model, "head_is_new"):
            # Here, because transformers sets tensors one by one: the hook of `load_state_dict` does not run.
            model.head_is_new = bool(fresh_head)
            if fresh_head:
                model.config.forget_head()
            elif new_head and hasattr(model, "replace_head"):
                # What is there has its own labels: a head of the same size must not pass for the new one.
                model.replace_head()
        return (model, info) if want_info else model

    def train_all_weights(self) -> None:
        """Let every weight train, also those that the published fine-tuning leaves as they are.

        For weights that are not pre-trained: what is never trained would stay at its random start.
        """
        self.requires_grad_(True)

    @classmethod
    def _from_config(cls, config: ECGConfig, **kwargs: Any) -> Any:
        """Build a model with weights drawn at random, which its configuration says from then on."""
        config = copy.deepcopy(config)  # the mark is the model's; the caller's configuration may load weights next
        config.random_weights = {}
        return super()._from_config(config, **kwargs)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Send the model as transformers does, and in the same commit the feature extractor that belongs to it."""
        if reason := withheld(self.config.to_dict()):
            raise InputError(f"{reason} `ecg-hub push` says what may be done instead.")
        # transformers saves into a temporary folder and sends that: what `save_pretrained` adds travels along.
        self._sends_extractor = True
        try:
            return super().push_to_hub(*args, **kwargs)
        finally:
            self._sends_extractor = False

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save the model as transformers does."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if self._sends_extractor and (extractor := self.matching_extractor()) is not None:
            extractor.save_pretrained(save_directory)

    def matching_extractor(self) -> Any:
        """The feature extractor beside the weights that were loaded, else the catalogue's; None if it does not fit."""
        from ecg_hub.catalog import of_config
        from ecg_hub.modeling.auto import AutoFeatureExtractor, build_feature_extractor

        entry = of_config(self.config)
        try:
            extractor = AutoFeatureExtractor.from_pretrained(self.name_or_path)
        except Exception:  # nothing there, or no longer: whatever the reason, the catalogue's is the one to look at
            extractor = None if entry is None else build_feature_extractor(entry)
        if extractor is None or not hasattr(extractor, "spec"):
            return None
        # A model of another rate or order of leads would be fed wrongly, and silently, by whoever loads both.
        spec, config = extractor.spec("benchmark"), self.config
        fed = (spec.sampling_rate, spec.input_seconds, list(spec.lead_names))
        if fed != (config.sampling_rate, config.input_seconds, list(config.lead_names)):
            logger.warning(f"No feature extractor goes along: none is known that feeds {fed!r} to this model.")
            return None
        return extractor

    def check_input(self, input_values: Tensor) -> None:
        """Refuse input that the model would misread: it takes (batch, leads, samples), floating point, millivolt."""
        # Shape and dtype only, which are known on the host: a look at values would wait for the device.
        config: ECGConfig = self.config
        leads = len(config.lead_names)
        expected = f"{type(self).__name__} takes float input_values (batch, leads = {leads}, samples) in {config.unit}"
        if not isinstance(input_values, Tensor) or not input_values.is_floating_point():
            kind = getattr(input_values, "dtype", type(input_values).__name__)
            raise InputError(f"{expected}, got {kind!s}. Convert the signal with ECGFeatureExtractor.")
        if input_values.ndim != 3:
            raise InputError(f"{expected}, got shape {tuple(input_values.shape)!r}. Add the batch axis: x[None].")
        if input_values.shape[1] != leads:
            raise InputError(
                f"{expected} in the order {', '.join(config.lead_names)}; got {input_values.shape[1]!r} leads in shape "
                f"{tuple(input_values.shape)!r}. ECGFeatureExtractor orders and derives leads."
            )
        self._check_samples(input_values.shape[2], config)

    @staticmethod
    def _check_samples(samples: int, config: ECGConfig) -> None:
        longest, step = config.max_samples, config.sample_multiple
        if samples < config.min_samples or (longest is not None and samples > longest) or samples % step:
            limits = f"at least {config.min_samples}" + (f", at most {longest}" if longest is not None else "")
            multiple = f", in multiples of {step}" if step > 1 else ""
            raise InputError(
                f"Input of {samples!r} samples; allowed: {limits}{multiple} ({config.samples} samples are "
                f"{config.input_seconds} s at {config.sampling_rate} Hz, what ECGFeatureExtractor cuts)."
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Called for every module with a tensor that was not loaded; what is not set here is left-over memory after
        # `from_pretrained`, which builds on the meta device and keeps nothing of what `__init__` put into tensors.
        if isinstance(module, MeanLinearHead | AttentionPoolingHead):
            module.initialize()
        else:
            initialize_as_torch(module)


class ECGClassificationMixin:
    """The classifier around an encoder: base model under `base_model_prefix`, head under `head`.

    Put it before the model's own base class and name the encoder class::

        class XForECGClassification(ECGClassificationMixin, XPreTrainedModel):
            base_model_class = XModel
    """

    base_model_class: ClassVar[type[Any]]

    def __init__(self: Any, config: ECGConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        setattr(self, self.base_model_prefix, self.base_model_class(config))
        self.head = build_head(
            config.pooling, config.hidden_size, config.num_labels, config.num_attention_pooling_heads
        )
        self.head_is_new = True
        self.register_load_state_dict_post_hook(_note_loaded_head)
        self.post_init()

    def replace_head(self: Any) -> None:
        """Put a new head with random weights in the place of the one that is there."""
        config, old = self.config, self.head
        config.forget_head()
        fresh = build_head(config.pooling, config.hidden_size, config.num_labels, config.num_attention_pooling_heads)
        fresh.initialize()
        weight = next(old.parameters())
        self.head = fresh.to(device=weight.device, dtype=weight.dtype).train(self.training)
        self.head_is_new = True

    @can_return_tuple
    def forward(
        self: Any,
        input_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify windows.

        Args:
            input_values: (batch, leads, samples), float, millivolt.
            labels: (batch, num_labels), NaN where there is no target; gives a loss.
            output_hidden_states: return the encoder's stages too.
            **kwargs: passed to the encoder, for example output_attentions.

        Returns:
            `loss` (a scalar in float32, None without labels), `logits` (batch, num_labels) with NaN set to 0 as
            published, `hidden_states`, `attentions`. Probabilities of classes are the sigmoid of their logits.

        Raises:
            InputError: input of the wrong type, number of dimensions, leads or samples; labels of another shape than
                the logits.

        Source: arXiv 2509.25095, modes "linear" (`pooling="mean"`) and "frozen" (`pooling="attention"`).

        Example:
            >>> from ecg_hub import AutoModelForECGClassification
            >>> model = AutoModelForECGClassification.from_pretrained("random:ecg-cpc-tiny", num_labels=2)
            >>> labels = torch.tensor([[1.0, torch.nan]])  # nobody has said whether the second label applies
            >>> output = model(torch.zeros(1, 12, 600), labels=labels)
            >>> output.logits.shape, bool(output.loss.isfinite())
            (torch.Size([1, 2]), True)
        """
        output = self.base_model(input_values, output_hidden_states=output_hidden_states, return_dict=True, **kwargs)
        pooled = self.head.expects == "pooled"
        logits = self.head(output.pooler_output if pooled else output.last_hidden_state)
        logits = torch.nan_to_num(logits, nan=0.0)
        loss = None if labels is None else self._loss(logits, labels)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=output.hidden_states, attentions=output.attentions
        )

    def _loss(self: Any, logits: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        # A loss in train mode is taken for a step of training, after which the head is no longer random.
        if self.training:
            self.head_is_new = False
        return classification_loss(logits, labels, config.problem_type, config.num_classification_labels)


def initialize_as_torch(module: nn.Module) -> None:
    """Initialise one module as PyTorch does by itself, through functions that leave loaded values alone.

    transformers' own default is normal with deviation 0.02, which is for language models.
    """
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if module.bias is not None:
            # PyTorch's fan-in is what one output sees: with groups, the inputs of its own group only.
            bound = 1.0 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight)
    elif isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm1d | nn.BatchNorm2d):
        if module.weight is not None:
            init.ones_(module.weight)
        if module.bias is not None:
            init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)


def run_in_slices(
    stages: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, training: bool, size: int = _CPU_SLICE
) -> tuple[Tensor, ...]:
    """Run an encoder on slices of a large batch where that is faster: on the CPU, in evaluation, without gradients.

    Activations of a whole batch exceed what the C allocator keeps, so that every operation pays for fresh pages; a
    slice of `size` windows stays below. `stages` maps (batch, leads, samples) to tensors whose first axis is the batch.
    """
    # In train mode batch norm and stochastic depth look at the whole batch. With gradients the activations of all
    # windows are kept anyway, and an accelerator is only slowed down by small pieces.
    if training or torch.is_grad_enabled() or x.device.type != "cpu" or len(x) <= size:
        return stages(x)
    parts = [stages(part) for part in torch.split(x, size)]
    return tuple(torch.cat(stage) for stage in zip(*parts, strict=True))


def mean_of_tokens(x: Tensor, dim: int) -> Tensor:
    """Average over the tokens; under autocast the result stays in float32.

    Pooled features differ little from record to record: rounded to 8 bits they would lose what the records differ by.
    """
    return x.mean(dim, dtype=torch.float32 if torch.is_autocast_enabled(x.device.type) else None)


def _note_loaded_head(module: Any, incompatible_keys: Any) -> None:
    if not any(key.startswith(_HEAD_PREFIX) for key in incompatible_keys.missing_keys):
        module.head_is_new = False


def _missing_text(model: ECGPreTrainedModel, source: Any, names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    text = f"{source!s} lacks {len(names)} of the weights of {type(model).__name__}, which would be random: {shown}."
    if all(name.startswith(model.head_prefix) for name in names):
        text = f"{text} It holds no head of this size: pass new_head=True to train one, or load it with AutoModel."
        entry = catalog.of_config(model.config)
        if entry is None or not entry.keeps_head:
            return text
        return f"{text} For the head of the authors convert or pull {entry.alias!r} again, and read what it notes."
    entry = catalog.by_model_type(model.config.model_type)
    return f"{text} {entry.how_to_get if entry else 'Save the whole model again.'}"
