"""Convolution and its two adjoints, one file per algorithm; ``choose`` says which is used."""
