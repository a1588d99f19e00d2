"""The `refam` command: one module for each command."""
