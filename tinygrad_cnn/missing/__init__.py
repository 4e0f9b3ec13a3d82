"""What is said where a name of PyTorch's is asked for that is not here, or one that nobody has."""
