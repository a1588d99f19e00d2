"""The backend: the only room that knows Label Studio."""

__version__ = "0.2.0"


def model_version(backbone: str, segmenter: str, tail: str = "") -> str:
    """What made a prediction, as Label Studio has it: package, backbone, segmenter with tracker, and quality."""
    return f"refam-{__version__}/{backbone}/{segmenter}{tail}"
