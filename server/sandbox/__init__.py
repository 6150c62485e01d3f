"""Processes in which libraries written in C read what strangers send."""
