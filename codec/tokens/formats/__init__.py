"""The formats of token shards, one module each."""
