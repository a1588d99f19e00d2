"""From prompts to masks: GrabCut without weights, and SAM2 in torch or onnxruntime."""
