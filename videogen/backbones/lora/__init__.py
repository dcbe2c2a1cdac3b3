"""LoRAs and textual inversions of a request: read, matched with a loaded model, applied for a render and removed."""
