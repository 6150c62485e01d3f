"""Codes that do not depend on the processor: near ties are decided in exact arithmetic."""
