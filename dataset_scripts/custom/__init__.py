"""A user's own archive, described by one YAML file, as a dataset like the published ones.

    from dataset_scripts.custom import is_description, open_own

Importing reads nothing and imports no pandas, wfdb, edfio or pydicom.
"""

from __future__ import annotations

from dataset_scripts.custom.dataset import OwnDataset, open_own, record_readers
from dataset_scripts.custom.description import Description, is_description, read_description

__all__ = ["Description", "OwnDataset", "is_description", "open_own", "read_description", "record_readers"]
