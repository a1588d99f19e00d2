"""Following objects through a clip: `propagate.propagate_all` is the way in."""
