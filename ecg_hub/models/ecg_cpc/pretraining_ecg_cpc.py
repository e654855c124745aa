"""ECG-CPC with the head and the loss that it is pre-trained by: contrastive predictive coding.

Paper and code as in modeling_ecg_cpc.py; loss: `CPCLoss` of the authors' repository with its published settings (one
horizon of 14 tokens, 128 negatives of the same sequence, dot products, temperature 1). From each token of the S4 stack
a linear map without bias predicts the output of the convolutional encoder `prediction_steps` tokens ahead. Different:
the loss is the mean over tokens and horizons, where the authors' is the sum over tokens (1,186 of them at 10 s); AdamW
is blind to such a factor but for its epsilon.

Not published, and off by default: what is predicted may be of clean windows while disturbed ones are read, and a head
on the mean token may tell the average beat and the rhythm besides (`beat_weight`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput
from transformers.utils.generic import can_return_tuple

from ecg_hub.errors import InputError
from ecg_hub.modeling.beats import RHYTHM, measure, number_of_points
from ecg_hub.modeling.contrastive import cpc_loss, number_of_anchors, sample_negatives
from ecg_hub.modeling.modeling_utils import mean_of_tokens
from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig
from ecg_hub.models.ecg_cpc.modeling_ecg_cpc import ECGCPCModel, ECGCPCPreTrainedModel

_RHYTHM_SHARE = 0.1
"""Of an error of the rhythm in that of a beat, whose points are many and alike."""


@dataclass
class ECGCPCForPreTrainingOutput(ModelOutput):
    """Output of the pre-training model.

    Attributes:
        loss: mean over sequences, horizons and tokens, in float32; with `beat_weight` the error of the beats, too.
        sequence_loss: contrastive loss of each sequence and horizon, (batch, horizons).
        beat_loss: of each sequence, (batch,), without its weight; None without `beat_weight`.
        accuracy: share of tokens whose positive scores highest, (batch, horizons), without gradient; by chance it is
            1 / (1 + negatives).
        last_hidden_state: tokens of the encoder, (batch, tokens, dim).
    """

    loss: Tensor | None = None
    sequence_loss: Tensor | None = None
    beat_loss: Tensor | None = None
    accuracy: Tensor | None = None
    last_hidden_state: Tensor | None = None


class ECGCPCForPreTraining(ECGCPCPreTrainedModel):
    """The ECG-CPC encoder with the projections of contrastive predictive coding.

    `ecg_hub.AutoModel` loads the encoder of what this model saved.

    Example:
        >>> from ecg_hub import AutoModelForPreTraining
        >>> model = AutoModelForPreTraining.from_pretrained("random:ecg-cpc-tiny").train()
        >>> output = model(torch.zeros(2, 12, 2400))  # 10 s at 240 Hz
        >>> output.loss.backward()
        >>> output.sequence_loss.shape, output.last_hidden_state.shape  # one horizon, of 14 tokens
        (torch.Size([2, 1]), torch.Size([2, 1200, 32]))
    """

    head_prefix: ClassVar[str | tuple[str, ...]] = ("projections.", "beat_head.")
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^head\."]

    def __init__(self, config: ECGCPCConfig) -> None:
        super().__init__(config)
        if config.bidirectional:
            raise InputError("bidirectional is True: tokens that see the future have nothing to predict.")
        self.ecg_cpc = ECGCPCModel(config)
        width = config.hidden_size
        self.projections = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in config.prediction_steps)
        self.beat_head: nn.Sequential | None = None
        if config.beat_weight:
            targets = len(config.lead_names) * number_of_points(config.sampling_rate) + RHYTHM
            self.beat_head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, targets))
        self.head_is_new = True
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        sampled_negative_indices: Tensor | None = None,
        generator: torch.Generator | None = None,
        clean_values: Tensor | None = None,
    ) -> ECGCPCForPreTrainingOutput:
        """Encode windows and compute the contrastive loss, and that of the beats where the configuration has it.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 240 Hz; 2,400 samples are what was published.
            sampled_negative_indices: tokens, (batch, horizons, anchors, negatives), as `sample_negatives` draws them,
                anchors being the tokens that have a positive for every horizon; drawn here when absent.
            generator: of that drawing, on the device of the model; None is torch's global one.
            clean_values: the same windows undisturbed: tokens and beats that are predicted are theirs. None:
                `input_values` are clean.

        Returns:
            `loss` (a scalar), `sequence_loss` and `accuracy` (batch, horizons), `beat_loss` (batch,) or None,
            `last_hidden_state` (batch, tokens = samples / 2 rounded up, 512).

        Raises:
            InputError: wrong input, windows too short for the horizons, negatives or clean windows of the wrong shape.

        Source: arXiv 1807.03748, equation 4; settings of arXiv 2509.25095.
        """
        # The target is the output of the convolutions, of which a token sees 3 samples; what predicts it is the S4
        # stack's, of which a token sees the past.
        encoded, context = self._states(input_values, clean_values)
        negatives = self._negatives(encoded, sampled_negative_indices, generator)
        # The last tokens have nothing to be compared with; all horizons take as many anchors as the longest has.
        anchors = negatives.shape[2]
        losses, hits = [], []
        for k, step in enumerate(self.config.prediction_steps):
            loss, hit = cpc_loss(
                self.projections[k](context[:, :anchors]),
                encoded,
                negatives[:, k],
                step,
                temperature=self.config.contrastive_temperature,
                normalize=self.config.normalize_contrast,
            )
            losses.append(loss)
            hits.append(hit)
        sequence_loss = torch.stack(losses, dim=1)
        loss, beat_loss = sequence_loss.mean(), None
        if self.beat_head is not None:
            beat_loss = self._beat_loss(self.beat_head, context, input_values if clean_values is None else clean_values)
            loss = loss + self.config.beat_weight * beat_loss.mean()
        return ECGCPCForPreTrainingOutput(
            loss=loss,
            sequence_loss=sequence_loss,
            beat_loss=beat_loss,
            accuracy=torch.stack(hits, dim=1),
            last_hidden_state=context,
        )

    @torch.no_grad()
    def scale_output(self, input_values: Tensor) -> None:
        """Scale each feature of the encoder to a standard deviation of 1, taken of its mean over tokens over windows.

        The last norm is multiplied and the heads are divided by the same factors, so that losses stay what they are.
        What changes is how fast a head learns whose rate is fixed: features of a trained encoder differ little between
        windows (0.1 to 0.6 in a model of ours, 0.02 to 0.12 with random weights).

        Args:
            input_values: (windows, 12 leads, samples), float, millivolt, 240 Hz; a few hundred windows of training
                records.

        Raises:
            InputError: wrong input, or fewer than two windows.
        """
        if len(input_values) < 2:
            raise InputError(f"{len(input_values)} window has no standard deviation: give a few hundred.")
        training = self.training
        deviation = self.eval().ecg_cpc(input_values).pooler_output.float().std(0)
        # A feature that never changes carries nothing, and stays.
        factor = torch.where(deviation > 0, 1 / deviation, 1.0)
        norm = cast(nn.LayerNorm, self.ecg_cpc.predictor[-1].norm)
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        for projection in self.projections:
            cast(nn.Linear, projection).weight.div_(factor)
        if self.beat_head is not None:
            cast(nn.Linear, self.beat_head[0]).weight.div_(factor)
        self.train(training)

    def _states(self, input_values: Tensor, clean_values: Tensor | None) -> tuple[Tensor, Tensor]:
        """The tokens of the convolutions that are to be predicted, and those of the last S4 block."""
        if clean_values is None:
            states = self.ecg_cpc(input_values, output_hidden_states=True, return_dict=True).hidden_states
            return states[0], states[-1]
        for values in (input_values, clean_values):
            self.check_input(values)
        if clean_values.shape != input_values.shape:
            raise InputError(
                f"clean_values has shape {tuple(clean_values.shape)!r}; expected {tuple(input_values.shape)!r}, as "
                "input_values."
            )
        # Together, so that batch norm has one mean and variance for what predicts and what is predicted.
        clean, read = self.ecg_cpc.encoder(torch.cat([clean_values, input_values])).chunk(2)
        for block in self.ecg_cpc.predictor:
            read = block(read)
        return clean, read

    def _beat_loss(self, head: nn.Module, context: Tensor, windows: Tensor) -> Tensor:
        """Mean squared error of beat and rhythm of each window, (batch,); 0 where no beat is found."""
        measured = measure(windows.detach().float().cpu().numpy(), self.config.sampling_rate)
        told = head(mean_of_tokens(context, 1)).float()
        beats, rhythm, beats_known, rhythm_known = (
            torch.from_numpy(values).to(told.device)
            for values in (measured.beats, measured.rhythm, measured.beats_known, measured.rhythm_known)
        )
        of_beats = (told[:, :-RHYTHM] - beats).square().mean(1) * beats_known
        of_rhythm = ((told[:, -RHYTHM:] - rhythm).square() * rhythm_known).sum(1)
        return of_beats + _RHYTHM_SHARE * of_rhythm

    def _negatives(self, encoded: Tensor, given: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The negatives that were given, checked, or drawn ones."""
        config, (batch, tokens, _) = self.config, encoded.shape
        steps = config.prediction_steps
        if given is None:
            return sample_negatives(
                batch, tokens, steps, config.num_negatives, device=encoded.device, generator=generator
            )
        expected = (batch, len(steps), number_of_anchors(tokens, steps))
        if given.ndim != 4 or tuple(given.shape[:3]) != expected:
            raise InputError(
                f"sampled_negative_indices has shape {tuple(given.shape)!r}; expected {(*expected, 'negatives')!r} "
                "(batch, horizons, anchors, negatives)."
            )
        return given
