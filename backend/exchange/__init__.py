"""Annotated videos in and out: tracks of `refam label`, Label Studio's exports, and the file formats of trainers."""
