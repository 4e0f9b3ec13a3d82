"""The threads that run kernels: a pool that sleeps between them, itself in machine code."""
