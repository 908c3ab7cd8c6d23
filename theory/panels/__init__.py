"""What `experiments/dilution_sim.py` shows: each panel is a sweep (tidy tables) and a figure drawn from those tables alone.

A panel NAME lives in two modules. `NAME.py` computes predictions beside simulations, and `NAME_figure.py` draws them
(matplotlib loads only there). `theory.panels.panel` says what both sides promise.
"""
