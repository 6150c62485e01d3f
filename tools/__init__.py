"""Programs for operators, apart from the service."""
