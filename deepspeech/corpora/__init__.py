"""Public corpora, and tools for manifests."""
