"""Video files and picture lists, opened, checked and decoded: `reader.open_clip` is the way in."""
