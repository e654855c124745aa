"""Pre-training: from shards of records to a checkpoint that the hub loads and the harness scores."""
