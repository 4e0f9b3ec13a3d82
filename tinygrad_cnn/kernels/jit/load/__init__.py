"""How kernels get at images: views in the order of memory, and what is computed while loading."""
