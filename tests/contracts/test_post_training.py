"""Every registered model is post-trained: both stages, stochastic depth in the second, and none of it in evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecg_hub import AutoModel, catalog
from ecg_hub.modeling.layers import DropPath, set_drop_path
from eval_harness.cli.eval.main import main
from eval_harness.config.protocol import PostTraining, Protocol
from eval_harness.models.adapting import adapt
from eval_harness.results.runfile import read_run
from eval_harness.results.schema import read_result
from eval_harness.training.post_training import block_depths, residual_blocks, stage2_groups


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("root")
    write("ptb-xl", root / "ptb-xl", records=80, seed=1)
    return root, tmp_path_factory.mktemp("cache")


@pytest.mark.heavy
@pytest.mark.parametrize("alias", catalog.models())
def test_it_is_post_trained(alias: str, mock: tuple[Path, Path], tmp_path: Path) -> None:
    root, cache = mock
    model = f"random:{alias}-tiny"
    words = ["--model", model, "--tasks", "ptbxl_super", "--mode", "post_train", "--limit", "16", "--device", "cpu"]
    for setting in ("stage1_epochs=1", "stage2_epochs=1", "batch_size=8", "stage2_layer_decay=0.8"):
        words += ["--post-train", setting]
    words += ["--resamples", "50", "--data-root", str(root), "--cache-dir", str(cache), "--output", str(tmp_path)]
    assert main(words) == 0
    folder = tmp_path / model.replace(":", "__") / "post_train"
    result = read_result(folder / "ptbxl_super.json")
    assert result.status == "done", result.reason
    assert result.metrics["macro_auprc"].point is not None
    head = 5 * (AutoModel.from_pretrained(model).config.hidden_size + 1)
    assert result.protocol.trained_parameters == (result.model.parameters or 0) + head
    assert read_run(folder / "run.json").settings.released == (True if alias == "ecg-fm" else None)


@pytest.mark.parametrize("alias", catalog.models())
def test_stochastic_depth_acts_in_training_alone_and_rate_0_is_the_plain_model(alias: str) -> None:
    encoder = AutoModel.from_pretrained(f"random:{alias}-tiny").eval()
    spec_samples = encoder.config.samples
    values = torch.randn(4, len(encoder.config.lead_names), spec_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = encoder(values).last_hidden_state
        assert set_drop_path(encoder, 0.9, "constant") > 0
        assert torch.equal(encoder(values).last_hidden_state, plain), "evaluation ignores the rate"
        # The blocks alone are set to training, because dropout and BatchNorm of the others would change the output too.
        paths = [module for module in encoder.modules() if isinstance(module, DropPath)]
        for path in paths:
            path.train()
        torch.manual_seed(0)
        assert not torch.equal(encoder(values).last_hidden_state, plain)
        set_drop_path(encoder, 0.0)
        state = torch.random.get_rng_state()
        assert torch.equal(encoder(values).last_hidden_state, plain)
        assert torch.equal(torch.random.get_rng_state(), state), "rate 0 draws nothing"


@pytest.mark.parametrize("alias", catalog.models())
def test_branches_are_dropped_by_sample_and_stay_the_same_on_average(alias: str) -> None:
    """Every branch of every model: a sample's is gone or whole, as often as the rate says; the mean is the branch."""
    encoder = AutoModel.from_pretrained(f"random:{alias}-tiny").eval()
    samples, rate = 96, 0.4
    shape = (samples, len(encoder.config.lead_names), encoder.config.samples)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    paths = {name: module for name, module in encoder.named_modules() if isinstance(module, DropPath)}
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in paths}
    for name, path in paths.items():
        path.train()
        path.register_forward_hook(lambda _, given, out, name=name: seen[name].append((given[0], out)))
    assert set_drop_path(encoder, rate, "constant") == len(paths)
    torch.manual_seed(2)
    with torch.no_grad():
        encoder(values)
        assert all(seen.values()), "every branch passes through its module"
        kept = []
        for calls in seen.values():
            # Without gradients a batch is taken in pieces, and a block may use its module for two branches.
            branches, rest = divmod(sum(len(branch) for branch, _ in calls), samples)
            assert branches in (1, 2)
            assert rest == 0, "the first dimension is that of the samples, or others would be dropped"
            for first in range(branches):
                branch, out = (torch.cat(parts) for parts in zip(*calls[first::branches], strict=True))
                whole, gone = ((out - other).flatten(1).abs().amax(1) for other in (branch / (1 - rate), 0 * branch))
                assert torch.minimum(whole, gone).max() <= 1e-5 * branch.abs().max()
                kept.append((gone > whole).float().tolist())
        draws = torch.stack([next(iter(paths.values()))(branch[:1]) for _ in range(1500)])
    share = torch.tensor(kept)
    assert abs(share.mean().item() - (1 - rate)) < 5 * (rate * (1 - rate) / share.numel()) ** 0.5
    assert any(0 < first < 4 for first in share[:, :4].sum(1).tolist()), "each sample by itself"
    assert len(set(map(tuple, kept))) == len(kept), "branches are drawn independently"
    bound = 5 * (rate / (1 - rate) / len(draws)) ** 0.5
    assert (draws.mean(0) - branch[:1]).abs().max() < bound * branch[:1].abs().max()


@pytest.mark.parametrize("alias", catalog.models())
def test_every_trained_parameter_has_one_rate_that_rises_with_depth(alias: str) -> None:
    encoder = AutoModel.from_pretrained(f"random:{alias}-tiny")
    model = adapt(encoder, "post_train", ["a"], "multi_label_classification", Protocol())
    groups = stage2_groups(model, PostTraining(stage2_layer_decay=0.5))
    found = [id(p) for group in groups for p in group["params"]]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in model.parameters() if p.requires_grad}
    depths, blocks = block_depths(model.encoder), residual_blocks(model.encoder)
    assert blocks
    assert set(depths.values()) <= set(range(len(blocks) + 2))
    assert 0 in depths.values(), "the first layers lie before the blocks"
    for k, block in enumerate(blocks, start=1):
        assert {depths[name] for name in depths if name.startswith(f"{block}.")} <= {k}
