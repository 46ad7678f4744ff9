"""Audio: files to waveforms to features, and augmentation."""
