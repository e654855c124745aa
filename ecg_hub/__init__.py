"""Models: what AutoModel needs, and nothing about tasks or training.

Importing the package makes every model known to transformers' Auto classes, whenever transformers is imported; neither
it nor torch is loaded before a public name is used, so that command lines which only list things start at once.
"""

from __future__ import annotations

# Underscored, so that completion after `ecg_hub.` offers public names alone.
import os as _os
import typing as _typing
from importlib import import_module as _import_module
from typing import Any as _Any

from ecg_hub.catalog import public_classes as _public_classes
from ecg_hub.names import disable_xet as _disable_xet
from ecg_hub.registration import install as _install
from ecg_hub.renamed import renamed_argument as _renamed_argument
from ecg_hub.utils import __version__ as __version__

# Nothing of this runs: it tells type checkers what `__getattr__` gives, and `as` that it may be imported from here.
# `python docs/pages.py` writes these lines and `__all__` from the catalogue.
if _typing.TYPE_CHECKING:
    from ecg_hub.inference.pipeline import ECGClassificationPipeline as ECGClassificationPipeline
    from ecg_hub.inference.pipeline import load_pipeline as load_pipeline
    from ecg_hub.input.feature_extraction import ECGFeatureExtractor as ECGFeatureExtractor
    from ecg_hub.modeling.auto import AutoConfig as AutoConfig
    from ecg_hub.modeling.auto import AutoFeatureExtractor as AutoFeatureExtractor
    from ecg_hub.modeling.auto import AutoModel as AutoModel
    from ecg_hub.modeling.auto import AutoModelForECGClassification as AutoModelForECGClassification
    from ecg_hub.modeling.auto import AutoModelForPreTraining as AutoModelForPreTraining
    from ecg_hub.models import list_models as list_models
    from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig as ECGCPCConfig
    from ecg_hub.models.ecg_cpc.modeling_ecg_cpc import ECGCPCForECGClassification as ECGCPCForECGClassification
    from ecg_hub.models.ecg_cpc.modeling_ecg_cpc import ECGCPCModel as ECGCPCModel
    from ecg_hub.models.ecg_cpc.pretraining_ecg_cpc import ECGCPCForPreTraining as ECGCPCForPreTraining
    from ecg_hub.models.ecg_fm.configuration_ecg_fm import ECGFMConfig as ECGFMConfig
    from ecg_hub.models.ecg_fm.modeling_ecg_fm import ECGFMForECGClassification as ECGFMForECGClassification
    from ecg_hub.models.ecg_fm.modeling_ecg_fm import ECGFMModel as ECGFMModel
    from ecg_hub.models.ecg_founder.configuration_ecg_founder import ECGFounderConfig as ECGFounderConfig
    from ecg_hub.models.ecg_founder.modeling_ecg_founder import (
        ECGFounderForECGClassification as ECGFounderForECGClassification,
    )
    from ecg_hub.models.ecg_founder.modeling_ecg_founder import ECGFounderModel as ECGFounderModel
    from ecg_hub.models.ecg_jepa.configuration_ecg_jepa import ECGJEPAConfig as ECGJEPAConfig
    from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import ECGJEPAForECGClassification as ECGJEPAForECGClassification
    from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import ECGJEPAModel as ECGJEPAModel
    from ecg_hub.models.ecg_s4.configuration_ecg_s4 import ECGS4Config as ECGS4Config
    from ecg_hub.models.ecg_s4.modeling_ecg_s4 import ECGS4ForECGClassification as ECGS4ForECGClassification
    from ecg_hub.models.ecg_s4.modeling_ecg_s4 import ECGS4Model as ECGS4Model
    from ecg_hub.models.ecgfm_ked.configuration_ecgfm_ked import ECGFMKEDConfig as ECGFMKEDConfig
    from ecg_hub.models.ecgfm_ked.modeling_ecgfm_ked import ECGFMKEDForECGClassification as ECGFMKEDForECGClassification
    from ecg_hub.models.ecgfm_ked.modeling_ecgfm_ked import ECGFMKEDModel as ECGFMKEDModel
    from ecg_hub.models.hubert_ecg.configuration_hubert_ecg import HuBERTECGConfig as HuBERTECGConfig
    from ecg_hub.models.hubert_ecg.modeling_hubert_ecg import (
        HuBERTECGForECGClassification as HuBERTECGForECGClassification,
    )
    from ecg_hub.models.hubert_ecg.modeling_hubert_ecg import HuBERTECGModel as HuBERTECGModel
    from ecg_hub.models.melp.configuration_melp import MELPConfig as MELPConfig
    from ecg_hub.models.melp.modeling_melp import MELPForECGClassification as MELPForECGClassification
    from ecg_hub.models.melp.modeling_melp import MELPModel as MELPModel
    from ecg_hub.models.merl.configuration_merl import MERLConfig as MERLConfig
    from ecg_hub.models.merl.modeling_merl import MERLForECGClassification as MERLForECGClassification
    from ecg_hub.models.merl.modeling_merl import MERLModel as MERLModel
    from ecg_hub.models.merl_vit.configuration_merl_vit import MERLViTConfig as MERLViTConfig
    from ecg_hub.models.merl_vit.modeling_merl_vit import MERLViTForECGClassification as MERLViTForECGClassification
    from ecg_hub.models.merl_vit.modeling_merl_vit import MERLViTModel as MERLViTModel
    from ecg_hub.models.net1d.configuration_net1d import Net1DConfig as Net1DConfig
    from ecg_hub.models.net1d.modeling_net1d import Net1DForECGClassification as Net1DForECGClassification
    from ecg_hub.models.net1d.modeling_net1d import Net1DModel as Net1DModel
    from ecg_hub.models.st_mem.configuration_st_mem import STMEMConfig as STMEMConfig
    from ecg_hub.models.st_mem.modeling_st_mem import STMEMForECGClassification as STMEMForECGClassification
    from ecg_hub.models.st_mem.modeling_st_mem import STMEMModel as STMEMModel
    from ecg_hub.models.xecg.configuration_xecg import XECGConfig as XECGConfig
    from ecg_hub.models.xecg.modeling_xecg import XECGForECGClassification as XECGForECGClassification
    from ecg_hub.models.xecg.modeling_xecg import XECGModel as XECGModel


__all__ = [
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoModel",
    "AutoModelForECGClassification",
    "AutoModelForPreTraining",
    "ECGCPCConfig",
    "ECGCPCForECGClassification",
    "ECGCPCForPreTraining",
    "ECGCPCModel",
    "ECGClassificationPipeline",
    "ECGFMConfig",
    "ECGFMForECGClassification",
    "ECGFMKEDConfig",
    "ECGFMKEDForECGClassification",
    "ECGFMKEDModel",
    "ECGFMModel",
    "ECGFeatureExtractor",
    "ECGFounderConfig",
    "ECGFounderForECGClassification",
    "ECGFounderModel",
    "ECGJEPAConfig",
    "ECGJEPAForECGClassification",
    "ECGJEPAModel",
    "ECGS4Config",
    "ECGS4ForECGClassification",
    "ECGS4Model",
    "HuBERTECGConfig",
    "HuBERTECGForECGClassification",
    "HuBERTECGModel",
    "MELPConfig",
    "MELPForECGClassification",
    "MELPModel",
    "MERLConfig",
    "MERLForECGClassification",
    "MERLModel",
    "MERLViTConfig",
    "MERLViTForECGClassification",
    "MERLViTModel",
    "Net1DConfig",
    "Net1DForECGClassification",
    "Net1DModel",
    "STMEMConfig",
    "STMEMForECGClassification",
    "STMEMModel",
    "XECGConfig",
    "XECGForECGClassification",
    "XECGModel",
    "__version__",
    "list_datasets",
    "list_models",
    "load_dataset",
    "load_pipeline",
]

_HOMES = {
    "AutoConfig": "ecg_hub.modeling.auto",
    "AutoFeatureExtractor": "ecg_hub.modeling.auto",
    "AutoModel": "ecg_hub.modeling.auto",
    "AutoModelForECGClassification": "ecg_hub.modeling.auto",
    "AutoModelForPreTraining": "ecg_hub.modeling.auto",
    "ECGClassificationPipeline": "ecg_hub.inference.pipeline",
    "ECGFeatureExtractor": "ecg_hub.input.feature_extraction",
    "list_models": "ecg_hub.models",
    "load_pipeline": "ecg_hub.inference.pipeline",
}


def list_datasets(pattern: str | None = None, *, access: str | None = None) -> _Any:
    """List the datasets that `load_dataset` knows. Reads no data.

    Args:
        pattern: of names, for example "cpsc*".
        access: "open", "restricted" or "credentialed".

    Returns:
        Rows: dataset, title, access, licence, redistribution (whether signals may be passed on), rates_hz, page.

    Raises:
        UnknownNameError: no such access.

    Example:
        >>> list_datasets("ptb*", access="open").column("dataset")
        ['ptb', 'ptb-xl']
    """
    # By name, as in `load_dataset`.
    return _import_module("dataset_scripts.catalog").list_datasets(pattern, access=access)


@_renamed_argument("max_loss", "max_unreadable")
def load_dataset(
    name: str | _os.PathLike[str],
    data_dir: str | _os.PathLike[str] | None = None,
    cache_dir: str | _os.PathLike[str] | None = None,
    min_count: int | None = None,
    max_unreadable: float = 0.01,
    *,
    split: _Any = None,
    mock: bool | int = False,
    **thresholds: _Any,
) -> _Any:
    """Load a dataset from the folder of its published files.

    Args:
        name: dataset, for example "ptb-xl"; `ecg-eval ls datasets` lists them. "mock/ptb-xl" takes simulated records.
            Or the path of the YAML file that describes an archive of your own.
        data_dir: the dataset's folder; None takes $ECG_DATA_ROOT/NAME, without that variable $ECG_HUB_HOME/data/NAME,
            where `ecg-hub data prepare NAME --download` puts it. A description names its own.
        cache_dir: where the record store is written; None is the default cache.
        min_count: labels with fewer occurrences are dropped; None is the published 10, or what a mock tree brings.
        max_unreadable: share of unreadable records that is tolerated.
        split: "train", "test[:10%]", "train+validation", "all", or a list of these, as `datasets.load_dataset` has it.
        mock: take simulated records, as "mock/NAME" does; a number says how many.
        **thresholds: `sampling_rate`, `num_proc`, `max_record_mb`, and further thresholds of the dataset's label rules.

    Returns:
        A DatasetDict with train, validation and test; with `split` a Dataset. A signal is (samples, 12) int16, of which
        (signal - baseline) * gain_uv are microvolts; -32768 is a missing sample. A feature extractor takes its rows.

    Raises:
        UnknownNameError: no such dataset, split or argument.
        InputError: a value that does not fit.
        DataError: the folder or a needed file is missing, a table is damaged, or too many records are.

    Example:
        >>> import tempfile
        >>> from ecg_hub import AutoFeatureExtractor, AutoModel
        >>> folder = tempfile.TemporaryDirectory()
        >>> train = load_dataset("mock/ptb-xl", split="train", mock=40, cache_dir=folder.name)
        >>> extractor = AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny")
        >>> model = AutoModel.from_pretrained("random:ecg-cpc-tiny")
        >>> model(**extractor(train[0], return_tensors="pt")).pooler_output.shape
        torch.Size([1, 32])
        >>> train.map(extractor, batched=True, batch_size=32).column_names[-2:]
        ['input_values', 'record_index']
        >>> folder.cleanup()
        >>> load_dataset("ptbxll")  # "ptbxl", "PTB-XL" and "ptb_xl" are spellings of the name
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown dataset 'ptbxll'. Did you mean 'ptb-xl' or 'ptb'? ...
    """
    # By name: data stand on models, so no import statement may point the other way.
    load = _import_module("dataset_scripts.load").load_dataset
    options = {"cache_dir": cache_dir, "min_count": min_count, "max_unreadable": max_unreadable, **thresholds}
    return load(name, data_dir, split=split, mock=mock, **options)


def __getattr__(name: str) -> _Any:
    home = _HOMES.get(name) or (_public_classes().get(name) if name in __all__ else None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(home), name)
    # From now on the name is found without asking here.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# First, because huggingface_hub reads the environment once, when transformers imports it.
_disable_xet()
_install()
