"""How fast the package is beside what it replaces: `experiments/benchmark_theory.py` runs and writes this."""
