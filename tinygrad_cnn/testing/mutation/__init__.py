"""Mistakes seeded into derivative rules, which the checks must find."""
