"""The model families, one folder each."""

from __future__ import annotations

import fnmatch

import ecg_hub.catalog as catalog
from ecg_hub.spelling import registered
from ecg_hub.utils.rows import Rows


def list_models(pattern: str | None = None, *, kind: str | None = None) -> Rows:
    """List the checkpoints, all or those that the filters keep; imports neither torch nor pandas.

    Args:
        pattern: of short names, for example `"ecg-*"`.
        kind: "foundation" or "supervised".

    Returns:
        Rows: model (the short name, for `AutoModel.from_pretrained`), title, kind, model_type, leads (how many),
        rate_hz, window_s, dim, parameters, licence (of the weights), redistribution, pretraining_corpora (what they
        have seen), weights (where they are: figshare, hf, zenodo, manual, none).

    Raises:
        UnknownNameError: no such kind.

    Example:
        >>> list_models("hubert-ecg-s*").column("model")
        ['hubert-ecg-small', 'hubert-ecg-small-cardiolearning']
        >>> [row["model"] for row in list_models("ecg-f*") if not row["redistribution"]]
        ['ecg-founder', 'ecg-founder-1lead']
    """
    kind = None if kind is None else registered("kind of model", kind, catalog.KINDS)
    return Rows(
        {
            "model": entry.alias,
            "title": entry.title,
            "kind": entry.kind,
            "model_type": entry.model_type,
            "leads": len(entry.input.leads),
            "rate_hz": entry.input.sampling_rate,
            "window_s": entry.input.seconds,
            "dim": entry.dim,
            "parameters": entry.parameters,
            "licence": entry.licence.name,
            "redistribution": entry.licence.redistribution,
            "pretraining_corpora": entry.pretraining_corpora,
            "weights": entry.weights.kind,
        }
        for entry in catalog.checkpoints().values()
        if fnmatch.fnmatchcase(entry.alias, pattern or "*") and kind in (None, entry.kind)
    )
