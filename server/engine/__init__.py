"""One thread that steps the model for all streams together."""
