"""From Python functions to machine code: built once on a machine, kept, loaded, launched."""
