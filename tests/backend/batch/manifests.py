"""Write manifests for tests, in every format that `refam curate` reads."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq


def write_manifest(path, records):
    """Write `records` in the format of the suffix of `path`; return `path`."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    return path
