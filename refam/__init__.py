"""RefAM: words grounded in pictures by reading the attention of a diffusion transformer (arXiv 2509.22650)."""

__version__ = "0.2.0"
