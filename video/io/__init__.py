"""Opens, checks and decodes video files and image sequences. The entry point is `reader.open_clip`."""
