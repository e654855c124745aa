"""A user's own archive, described by one YAML file, as a dataset like the published ones.

    from dataset_scripts.custom import is_description, open_custom

Importing reads nothing and imports no pandas, wfdb, edfio or pydicom.
"""

from __future__ import annotations

from dataset_scripts.custom.dataset import CustomDataset, open_custom, record_readers
from dataset_scripts.custom.description import Description, is_description, read_description

__all__ = ["CustomDataset", "Description", "is_description", "open_custom", "read_description", "record_readers"]
