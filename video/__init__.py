"""Video in, tracks out. No words and no models of language live here, and no annotation tool."""

import warnings

# Pillow warns of pictures of 90 to 178 million pixels, which are read as others are. Larger ones it refuses.
warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit", category=RuntimeWarning)
