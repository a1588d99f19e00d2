"""The HTTP side: the application, its routes, middleware and the jobs page."""
