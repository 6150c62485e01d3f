"""Whole corpora to tokens: plan, encode, write shards, resume; and everything that reads them."""
