"""Random programs, run with every kind of kernel and in PyTorch, and all runs compared.

A program is a list of statements over named tensors, arrays, modules and optimisers. Nobody writes
one: `programs` draws it from the table in `instructions`, beside a run that tells which tensors
there are and of what shapes. `run` executes it in either library, `compare` says where two runs
differ, `shrink` makes a program that fails small and prints it as a script.

    python -m pytest tests/differential
    python -m tests.differential --programs 20000 --seed 0 --jobs 2 --out /tmp/found
"""
