"""All that knows Label Studio: label configs, requests, regions, edits, exports and the client."""
