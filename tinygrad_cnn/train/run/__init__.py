"""A training run on disk: settings, model files, checkpoints, folder."""
