"""Programs: what a function did to arrays, recorded once and done again without Python."""

from tinygrad_cnn.programs.compiled import CompiledFunction, compile

__all__ = ["CompiledFunction", "compile"]
