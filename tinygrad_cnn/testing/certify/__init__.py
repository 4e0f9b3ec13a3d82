"""Certificates: every check that an operation and its derivatives are put through."""
