"""Passes over numbers: elementwise, sums, optimiser steps."""
