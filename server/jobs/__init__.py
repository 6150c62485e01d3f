"""Long files: kept on disk, worked on in turn, and fetched later."""
