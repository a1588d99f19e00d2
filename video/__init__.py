"""Video in, tracks out. No words and no models of language live here, and no annotation tool."""
