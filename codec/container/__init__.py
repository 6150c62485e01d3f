"""The .grv container of BITSTREAM.md: read, written, repaired, cut and joined."""
