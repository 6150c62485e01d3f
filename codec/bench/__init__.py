"""`grove bench`: how fast the codec is here, beside the peers found on the same machine."""
