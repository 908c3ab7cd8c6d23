"""The theory of dataset mixing and robustness in the linear dilution setting."""
