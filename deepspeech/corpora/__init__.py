"""Prepare public corpora; build, change and verify manifests."""
