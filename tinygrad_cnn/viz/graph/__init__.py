"""Recorded graphs as data and as pictures: traced, folded, drawn, compared and examined."""
