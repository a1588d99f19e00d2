"""From a clip and prompts to tracks: grounding, fusion, segmentation, tracking and keyframes."""
