"""The version number: the one that the build took from the git tag and wrote to `_version`."""

from __future__ import annotations

try:
    from tinygrad_cnn._version import __version__ as __version__
except ImportError:  # a folder that was never built or installed
    __version__ = "0.1.0.dev0"  # as `fallback_version` in pyproject.toml
