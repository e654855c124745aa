"""ECG-CPC beyond the contract suite: the convolutional encoder against torch's layers, causality, lengths, modes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ecg_hub.models.ecg_cpc.modeling_ecg_cpc import ECGCPCConvEncoder, ECGCPCConvLayer
from tests.support.models import signals, tiny


def with_statistics(encoder: ECGCPCConvEncoder) -> ECGCPCConvEncoder:
    generator = torch.Generator().manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return encoder


def by_torch(encoder: ECGCPCConvEncoder, x: torch.Tensor) -> torch.Tensor:
    for layer in encoder.layers:
        assert isinstance(layer, ECGCPCConvLayer)
        x = functional.relu(layer.norm(layer.conv(x)))
    return x.transpose(1, 2)


def test_conv_encoder_equals_torch_layers() -> None:
    model = tiny("ecg-cpc")
    encoder = with_statistics(model.encoder)
    for samples in (3, 4, 5, 600, 601):
        x = signals(model.config)[..., :samples] if samples <= 600 else torch.randn(2, 12, samples)
        encoder.eval()
        output = encoder(x)
        assert output.shape == (2, (samples + 1) // 2, 32)
        assert torch.allclose(output, by_torch(encoder, x), atol=1e-5)


def test_batch_norm_learns_the_same_statistics() -> None:
    ours, torchs = (with_statistics(tiny("ecg-cpc").encoder).train() for _ in range(2))
    x = signals(tiny("ecg-cpc").config, batch=4)
    assert torch.allclose(ours(x), by_torch(torchs, x), atol=1e-5)
    for name, tensor in ours.state_dict().items():
        assert torch.allclose(tensor.float(), torchs.state_dict()[name].float(), atol=1e-5), name


def test_a_token_knows_the_past_and_one_sample_ahead() -> None:
    model = tiny("ecg-cpc")
    x = signals(model.config, batch=1)
    changed = x.clone()
    changed[..., 301:] += 1.0
    before, after = model(x).last_hidden_state, model(changed).last_hidden_state
    moved = (before - after).abs().amax((0, 2)) > 1e-4
    assert not moved[:150].any()  # token 149 ends its kernel at sample 299
    assert moved[150]  # token 150 sees samples 299, 300, 301


def test_hidden_states_are_the_stages() -> None:
    model = tiny("ecg-cpc")
    x = signals(model.config)
    output = model(x, output_hidden_states=True)
    assert len(output.hidden_states) == 1 + model.config.num_hidden_layers
    assert torch.equal(output.hidden_states[0], model.encoder(x))
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(1))


def test_longer_input_than_the_pre_training() -> None:
    model = tiny("ecg-cpc")
    x = torch.randn(1, 12, 3000)  # 1,500 tokens, above the 1,200 that the kernel belongs to
    whole = model(x).last_hidden_state
    first = model(x[..., :600]).last_hidden_state
    assert torch.allclose(whole[:, :299], first[:, :299], atol=1e-4)  # causal: the rest changes nothing before
    assert model.config.kernel_length == 1200


def test_drop_path_rates_rise_linearly() -> None:
    model = tiny("ecg-cpc", num_hidden_layers=3, drop_path_rate=0.4)
    assert [block.drop_path.rate for block in model.predictor] == [0.0, 0.2, 0.4]
    constant = tiny("ecg-cpc", num_hidden_layers=3, drop_path_rate=0.4, drop_path_schedule="constant")
    assert [block.drop_path.rate for block in constant.predictor] == [0.4, 0.4, 0.4]
