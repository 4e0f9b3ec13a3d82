"""The command line ``tinygrad-cnn``."""

from tinygrad_cnn.cli.app import main as main
