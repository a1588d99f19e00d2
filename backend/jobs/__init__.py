"""Work that takes longer than a request may: queued, followed, survived and delivered.

`records` says what is known of a job, `queue` keeps it (Huey: SQLite, or Redis beyond one machine), `worker` does it,
`memo` keeps finished stages by content, `desk` answers Label Studio within its deadline, and `delivery` pushes what
was finished too late for that.
"""
