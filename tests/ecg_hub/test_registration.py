"""transformers knows our models after `import ecg_hub`, in whatever order, and no model is loaded for that."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_MAPPING

import ecg_hub
from ecg_hub import catalog
from tests.support.models import tiny, tiny_classifier

CONFIGURATION = "assert transformers.AutoConfig.for_model('ecg_cpc').hidden_size == 512"
IS_LAZY = "assert not [m for m in sys.modules if m.startswith('ecg_hub.models.') and '.modeling_' in m]"

KNOWS_THE_PIPELINE = "assert 'ecg-classification' in transformers.pipelines.PIPELINE_REGISTRY.get_supported_tasks()"
LOADS_A_FOLDER = (
    "extractor = transformers.AutoFeatureExtractor.from_pretrained(sys.argv[1])",
    "assert type(extractor).__name__ == 'ECGFeatureExtractor'",
    "model = transformers.AutoModel.from_pretrained(sys.argv[1])",
    "assert type(model).__name__ == 'ECGCPCModel'",
    "assert not [m for m in sys.modules if m.endswith('modeling_ecg_fm')]",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with a head that counts as trained, and its feature extractor."""
    folder = tmp_path_factory.mktemp("classifier")
    model = tiny_classifier("ecg-cpc", num_labels=2)
    model.save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc").save_pretrained(folder)
    return folder


def run(*lines: str, folder: Path | None = None) -> None:
    code = "\n".join(("import sys", *lines))
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], check=True, timeout=120)


# Each order is a process that imports transformers anew, five seconds: one that comes first, one that comes late. What
# comes after the two searches for loaded models disturbs neither of them.
@pytest.mark.heavy  # processes that import torch
@pytest.mark.parametrize(
    ("imports", "afterwards"),
    [
        (("import ecg_hub, transformers",), ("import transformers.pipelines", KNOWS_THE_PIPELINE, *LOADS_A_FOLDER)),
        (("import transformers, ecg_hub",), ()),
        (
            (
                "import transformers",
                "transformers.AutoModel, transformers.AutoFeatureExtractor",
                "import transformers.pipelines",
                "import ecg_hub",
            ),
            (KNOWS_THE_PIPELINE,),
        ),
        (("import ecg_hub", "from transformers import PreTrainedModel", "import transformers"), ()),
    ],
)
def test_plain_transformers_finds_what_is_ours_without_loading_models(
    imports: tuple[str, ...], afterwards: tuple[str, ...], folder: Path
) -> None:
    search = (CONFIGURATION, IS_LAZY, "transformers.AutoModel, transformers.AutoFeatureExtractor", IS_LAZY)
    run(*imports, *search, *afterwards, folder=folder)


@pytest.mark.heavy  # processes that import torch
def test_a_configuration_from_its_own_module_is_enough() -> None:
    run(
        "from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig",
        "import transformers",
        "config = ECGCPCConfig(hidden_size=32, num_hidden_layers=1)",
        "assert type(transformers.AutoModel.from_config(config)).__name__ == 'ECGCPCModel'",
        "assert type(transformers.AutoModelForPreTraining.from_config(config)).__name__ == 'ECGCPCForPreTraining'",
    )


def test_the_mapping_gives_classes_however_it_is_read() -> None:
    configs = {entry.load("config"): entry.load("model") for entry in catalog.models().values()}
    assert configs.items() <= dict(MODEL_MAPPING._extra_content).items()
    assert set(configs.values()) <= set(MODEL_MAPPING._extra_content.values())
    assert pickle.loads(pickle.dumps(MODEL_MAPPING))[ecg_hub.ECGCPCConfig] is ecg_hub.ECGCPCModel
    assert type(transformers.AutoModel.from_config(tiny("ecg-cpc").config)) is ecg_hub.ECGCPCModel
