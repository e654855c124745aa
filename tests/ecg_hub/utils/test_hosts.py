from __future__ import annotations

from ecg_hub.utils.hosts import figshare_files, figshare_list, zenodo_files, zenodo_record


def test_figshare_states_its_own_digest_or_the_uploaders() -> None:
    items = [
        {"name": "a.pt", "id": 7, "size": 12, "computed_md5": "1f", "supplied_md5": "2f"},
        {"name": "b.pt", "id": "8", "size": "3", "computed_md5": "", "supplied_md5": "2f"},
    ]
    assert figshare_list("https://host/v2", 5) == "https://host/v2/articles/5/files?page_size=1000"
    assert [tuple(file) for file in figshare_files("https://host/v2", items)] == [
        ("a.pt", "https://host/v2/file/download/7", 12, "md5:1f"),
        ("b.pt", "https://host/v2/file/download/8", 3, "md5:2f"),
    ]


def test_zenodo_names_the_algorithm() -> None:
    items = [{"key": "a.pt", "links": {"self": "https://host/a.pt"}, "size": 12, "checksum": "md5:1f"}]
    assert zenodo_record("https://host/api", "5") == "https://host/api/records/5"
    assert [tuple(file) for file in zenodo_files(items)] == [("a.pt", "https://host/a.pt", 12, "md5:1f")]
