"""The HTTP service: application and routes, middleware, answers to Label Studio, dashboard."""
