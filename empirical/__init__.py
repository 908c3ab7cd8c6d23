"""Real CLIP training and evaluation: sources, mixtures, filtered pools, robustness trends and the bridge to theory."""
