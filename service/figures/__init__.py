"""Figures like the paper's, one file a kind; each function draws one figure and returns where it is."""
