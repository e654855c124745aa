"""ECG-CPC for pre-training: the published loss around the encoder, and checkpoints that serve both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

import ecg_hub
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.modeling.beats import measure
from ecg_hub.modeling.contrastive import sample_negatives
from tests.support.contrast import slow_cpc_loss
from tests.support.models import tensors, tiny


def model_for(**config: object) -> ecg_hub.ECGCPCForPreTraining:
    return ecg_hub.AutoModelForPreTraining.from_pretrained("random:ecg-cpc-tiny", num_negatives=9, **config)


def windows(batch: int = 2, samples: int = 120) -> torch.Tensor:
    return 0.3 * torch.randn(batch, 12, samples, generator=torch.Generator().manual_seed(0))


def test_loss_and_gradients_are_those_of_the_loop_around_the_encoder() -> None:
    steps = (3, 14)
    model = model_for(prediction_steps=steps, contrastive_temperature=0.7).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout1d):
            module.p = 0.0
    x = windows().double()
    negatives = sample_negatives(2, 60, steps, 9, generator=torch.Generator().manual_seed(2))
    output = model(x, sampled_negative_indices=negatives)
    output.loss.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    states = model.ecg_cpc(x, output_hidden_states=True).hidden_states
    losses = [
        slow_cpc_loss(model.projections[k](states[-1])[:, :46], states[0], negatives[:, k], step, temperature=0.7)
        for k, step in enumerate(steps)
    ]
    slow = torch.stack([loss for loss, _ in losses], dim=1)
    slow.mean().backward()
    assert (output.sequence_loss - slow).abs().max() <= 1e-10
    assert torch.equal(output.accuracy, torch.stack([hits for _, hits in losses], dim=1))
    for name, parameter in model.named_parameters():
        assert (ours[name] - parameter.grad).abs().max() <= 1e-10, name


def test_defaults_are_the_published_loss() -> None:
    config = ecg_hub.ECGCPCConfig()
    assert tuple(config.prediction_steps) == (14,)
    assert (config.num_negatives, config.contrastive_temperature, config.normalize_contrast) == (128, 1.0, False)
    with torch.device("meta"):
        model = ecg_hub.ECGCPCForPreTraining(config)
    assert model.num_parameters() == 2_932_736 + 512 * 512


def test_scaling_the_output_changes_no_loss() -> None:
    model, x = model_for(prediction_steps=[3, 14]), windows(batch=8)
    negatives = sample_negatives(8, 60, (3, 14), 9, generator=torch.Generator().manual_seed(2))
    before = model(x, sampled_negative_indices=negatives).sequence_loss
    assert model.ecg_cpc(x).pooler_output.std(0).max() < 0.5
    model.scale_output(x)
    assert torch.allclose(model.ecg_cpc(x).pooler_output.std(0), torch.ones(32), atol=1e-4)
    assert torch.allclose(model(x, sampled_negative_indices=negatives).sequence_loss, before, atol=1e-5)
    assert not model.training
    with pytest.raises(InputError, match="no standard deviation"):
        model.scale_output(x[:1])


def ecg(batch: int = 4, samples: int = 600) -> torch.Tensor:
    """Windows with a narrow wave every 0.75 s, of another height in every lead and window."""
    time = torch.arange(samples) / 240
    wave = sum(torch.exp(-(((time - at) / 0.015) ** 2)) for at in (0.4, 1.15, 1.9))
    height = torch.randn(batch, 12, 1, generator=torch.Generator().manual_seed(1))
    return height * wave + 0.01 * windows(batch, samples)


def test_the_loss_of_the_beats_is_that_of_plain_numpy() -> None:
    model = model_for(beat_weight=3.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout1d):
            module.p = 0.0
    clean = ecg()
    read = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    output = model(read, generator=torch.Generator().manual_seed(2), clean_values=clean)
    hidden, last = model.beat_head[0], model.beat_head[2]
    first, second = ([part.weight.detach().numpy(), part.bias.detach().numpy()] for part in (hidden, last))
    pooled = output.last_hidden_state.detach().numpy().mean(1)
    told = np.maximum(pooled @ first[0].T + first[1], 0) @ second[0].T + second[1]
    measured = measure(clean.numpy(), 240)
    assert measured.beats_known.all()
    expected = ((told[:, :-2] - measured.beats) ** 2).mean(1)
    expected += 0.1 * ((told[:, -2:] - measured.rhythm) ** 2 * measured.rhythm_known).sum(1)
    np.testing.assert_allclose(output.beat_loss.detach().numpy(), expected, rtol=1e-4)
    whole = output.sequence_loss.mean() + 3 * output.beat_loss.mean()
    assert output.loss.item() == pytest.approx(whole.item(), rel=1e-6)
    model.zero_grad()
    output.beat_loss.mean().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in model.named_parameters()} - moved == {"projections.0.weight"}
    assert model.ecg_cpc.encoder.layers[0].conv.weight.grad.abs().max() > 0


def test_clean_windows_are_what_is_predicted() -> None:
    model, x = model_for(beat_weight=1.0).eval(), ecg()
    one, same = (
        model(x, generator=torch.Generator().manual_seed(2), clean_values=clean) for clean in (None, x.clone())
    )
    assert torch.allclose(one.sequence_loss, same.sequence_loss, atol=1e-5)
    assert torch.allclose(one.beat_loss, same.beat_loss, atol=1e-5)
    other = model(x, generator=torch.Generator().manual_seed(2), clean_values=x.flip(0))
    assert torch.allclose(other.last_hidden_state, one.last_hidden_state, atol=1e-5)
    assert not torch.allclose(other.sequence_loss, one.sequence_loss, atol=1e-3)
    assert not torch.allclose(other.beat_loss, one.beat_loss, atol=1e-3)
    with pytest.raises(InputError, match=r"clean_values has shape \(4, 12, 500\)"):
        model(x, clean_values=x[:, :, :500])


def test_scaling_the_output_changes_no_loss_of_the_beats() -> None:
    model, x = model_for(beat_weight=1.0), ecg(batch=8)
    before = model.eval()(x).beat_loss
    model.scale_output(x)
    assert torch.allclose(model(x).beat_loss, before, rtol=1e-3)


def test_the_head_of_the_beats_is_new_only_on_request(tmp_path: Path) -> None:
    model_for(beat_weight=1.0).save_pretrained(tmp_path / "whole")
    assert not ecg_hub.AutoModelForPreTraining.from_pretrained(tmp_path / "whole").head_is_new
    encoder, info = ecg_hub.AutoModel.from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert not info["unexpected_keys"]
    encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="beat_head"):
        ecg_hub.AutoModelForPreTraining.from_pretrained(tmp_path / "encoder")
    assert ecg_hub.AutoModelForPreTraining.from_pretrained(tmp_path / "encoder", new_head=True).head_is_new


def test_a_generator_decides_the_negatives() -> None:
    model, x = model_for(), windows()
    losses = [model(x, generator=torch.Generator().manual_seed(seed)).loss.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_the_encoder_is_loaded_from_what_was_saved(tmp_path: Path) -> None:
    model = model_for().train()
    model(windows()).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.eval().save_pretrained(tmp_path)
    for loader in (ecg_hub.AutoModel, transformers.AutoModel):
        encoder, info = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert type(encoder) is ecg_hub.ECGCPCModel
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        for name, tensor in tensors(model.ecg_cpc).items():
            assert torch.equal(tensor, tensors(encoder)[name]), name
    again = transformers.AutoModelForPreTraining.from_pretrained(tmp_path)
    assert type(again) is ecg_hub.ECGCPCForPreTraining
    assert torch.equal(again.projections[0].weight, model.projections[0].weight)
    assert not again.head_is_new
    assert list(again.config.prediction_steps) == [14]


def test_an_encoder_alone_gets_new_projections_only_on_request(tmp_path: Path) -> None:
    tiny("ecg-cpc").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"projections\.0\.weight"):
        ecg_hub.AutoModelForPreTraining.from_pretrained(tmp_path)
    model = ecg_hub.AutoModelForPreTraining.from_pretrained(tmp_path, new_head=True)
    assert model.head_is_new


def test_what_does_not_fit_is_refused() -> None:
    model = model_for()
    with pytest.raises(InputError, match="Feed longer windows"):
        model(windows(samples=28))
    with pytest.raises(InputError, match="batch, horizons, anchors, negatives"):
        model(windows(), sampled_negative_indices=torch.zeros(2, 1, 60, 9, dtype=torch.int64))
    for wrong in (
        {"prediction_steps": []},
        {"prediction_steps": [0]},
        {"num_negatives": 0},
        {"contrastive_temperature": 0.0},
        {"beat_weight": -1.0},
        {"beat_weight": float("nan")},
    ):
        with pytest.raises(StrictDataclassError):
            ecg_hub.ECGCPCConfig(**wrong)


@pytest.mark.heavy
def test_other_models_cannot_be_pre_trained() -> None:
    with pytest.raises(ValueError, match="MERL"):
        ecg_hub.AutoModelForPreTraining.from_pretrained("random:merl-tiny")
