"""The `grove` command: arguments in, reports and exit codes out."""
