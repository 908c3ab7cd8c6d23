"""The theorems derived step by step in SymPy, one family per module; `theory.proofs` checks and renders them."""
