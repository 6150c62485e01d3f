"""Puts this folder, with the cases that its tests share, on the path of the folders below."""
