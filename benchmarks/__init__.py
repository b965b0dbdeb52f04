"""What the published figures, and those in the READMEs, are measured and drawn with."""
