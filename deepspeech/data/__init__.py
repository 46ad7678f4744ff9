"""Data: manifests to batches."""
