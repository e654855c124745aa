"""A self-hosted hub for places without internet: the Hugging Face Hub's HTTP API over plain files.

`storage` keeps content by its SHA-256, `history` the folders and commits, `repos` what changes: one small file per
repository, replaced in one step. `app` turns requests into calls of the `routes_*` modules; `serve` runs it.
Nothing here asks another machine anything.
"""
