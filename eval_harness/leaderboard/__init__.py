"""The leaderboard: from the files of a results repository to one static page and its numbers as JSON.

    from eval_harness.leaderboard.site import build
    build(Path("leaderboard-repo"), Path("page"))

docs/leaderboard.md says what the marks, ranks and means are. Importing this package imports neither torch nor the hub
client.
"""
