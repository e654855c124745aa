"""Publishing results: which entries a leaderboard takes, where they lie in its repository, and how they get there.

    from eval_harness.publish import checked, push
    entries = checked(find_runs(["results/"]))
    push(entries, HubPublisher("ORG/ecg-leaderboard"))

docs/leaderboard.md describes the files and the checks. Importing this package imports neither torch nor the hub client.
"""
