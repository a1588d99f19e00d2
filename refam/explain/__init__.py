"""How an expression became a heatmap, step by step, as a page that stands alone."""
