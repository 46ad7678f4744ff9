"""Model files: written atomically, read safely."""
