"""Jobs that take longer than a request may wait.

`models` describes a job, `queue` keeps jobs (in `storage`: SQLite, or Redis beyond one machine), `worker` claims and
runs them, `runner` computes one, and `push` stores predictions that were finished too late for their request.
"""
