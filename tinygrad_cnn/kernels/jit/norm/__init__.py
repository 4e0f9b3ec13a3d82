"""Normalisations, their gradients, and the moments they need."""
