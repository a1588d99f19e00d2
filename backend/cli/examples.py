"""The examples below each command's help: what a person would type first."""

from __future__ import annotations

from rich.markup import escape

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        'refam label clip.mp4 "the red star"',
        "refam label clip.mp4 --point 0.42,0.61",
        "refam serve",
        "refam doctor",
    ),
    "serve": ("refam serve", "refam serve --host 0.0.0.0 --port 9090 --sam2 sam2-tiny"),
    "work": ("REFAM_QUEUE=redis://queue:6379/0 refam work --device cuda",),
    "connect": (
        "LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=... refam connect --project 3",
        "refam connect --project 3 --url http://backend:9090",
    ),
    "frames": (
        'refam frames clip.mp4 --out pictures --fps 2 --label Car --words "the red car"',
        "refam frames https://host/clip.mp4 --out pictures --every 10 --masks polygon",
    ),
    "feedback": ("refam feedback", "refam feedback --project 3 --days 7 --out feedback.html"),
    "next": ("refam next --project 3", "refam next --project 3 --count 50 --json"),
    "calibrate": ("refam calibrate --project 3", "refam calibrate --forget"),
    "export": (
        "refam export found/clip --format coco --out trainer --images --videos clips",
        "refam export export.json --config label_config.xml --videos clips --format yolo --out trainer --split 0.8,0.2",
    ),
    "import": (
        "refam import coco instances.json --out tasks",
        "refam import cvat annotations.xml --videos clips --out tasks",
    ),
    "curate": (
        "refam curate manifest.csv --out found",
        "refam curate manifest.parquet --out found --workers 4 --gpus 0.5 --export youtube-vis",
        "refam curate --status found",
    ),
    "draw": ("refam draw clips", "refam draw clips --count 20 --seed 7"),
    "explain": (
        'refam explain clip.mp4 "the red star" --out why.html',
        'refam explain frames/ "the red star" --frame 12 --out why.html',
    ),
    "pick": ("refam pick clip.mp4",),
    "words": (
        "refam words",
        'refam words "the brown puppy on the left"',
        'refam words "the brown puppy" "two red circles" --json',
    ),
    "doctor": ("refam doctor", "refam doctor --backbone flux-schnell --device cuda", "refam doctor --json"),
    "version": ("refam version",),
    "models": ("refam models", "refam models --json", "refam models pull sam2-tiny"),
    "models pull": ("refam models pull sam2-tiny", "refam models pull flux-schnell"),
    "train-tiny": ("refam train-tiny --out made", "refam train-tiny --out made --go-on-from made"),
    "train-photos": ("refam train-photos photos --out made --minutes 120",),
    "eval": ("refam eval davis DAVIS --start click --limit 10", "refam eval strokes --limit 6"),
    "eval ref-davis17": ("refam eval ref-davis17 ROOT --limit 10 --out judged",),
    "eval refer-youtube-vos": ("refam eval refer-youtube-vos ROOT --out judged",),
    "eval mevis": ("refam eval mevis ROOT --split valid_u --out judged",),
    "eval davis": ("refam eval davis DAVIS --start click --sam2 sam2-tiny --out judged",),
    "eval refcoco": ("refam eval refcoco ROOT --split testA --limit 100",),
    "eval refcoco+": ("refam eval refcoco+ ROOT --split testB --limit 100",),
    "eval refcocog": ("refam eval refcocog ROOT --split test --limit 100",),
    "eval strokes": ("refam eval strokes --limit 6", "refam eval strokes DAVIS --clip bear --step 2"),
    "eval need": ("refam eval need --clips 20",),
    "eval scenes": ("refam eval scenes --limit 200 --ablate", "refam eval scenes --reading --backbone wan-1.3b"),
    "eval photos": ("refam eval photos ROOT --limit 50", "refam eval photos ROOT --choose --backbone flux-dev"),
    "eval absent": ("refam eval absent --pictures 100 --clips 0",),
    "eval calibrate": ("refam eval calibrate --backbone made --like tiny",),
}
"""By a command's words after `refam`, such as "models pull"; `label` has its own."""


def examples(command: str) -> str:
    """Return the epilog of a command's help.

    Args:
        command: Its words after `refam`, such as "models pull".
    """
    lines = EXAMPLES[command]
    head = "Examples" if len(lines) > 1 else "Example"
    return "\n\n".join([f"[b]{head}[/b]", *(f"  {escape(line)}" for line in lines)])
