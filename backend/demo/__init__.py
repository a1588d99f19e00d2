"""`make demo`: a real Label Studio with videos that are pre-labelled from words."""
