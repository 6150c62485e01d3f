"""Sound as files and bytes: what can be read, and what is written."""
