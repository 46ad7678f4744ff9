"""Reports, profiles and batch sizes."""
