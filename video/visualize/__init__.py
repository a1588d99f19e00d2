"""Pictures of tracks for people: an overlay video, a timeline and a review sheet."""
