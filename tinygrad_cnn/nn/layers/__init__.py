"""Layers: modules that hold parameters and call a function."""
