"""Engine: windows to embeddings, for all calls at once.

In: `Window` (PCM float32[N] in [-1, 1], rows int64[T]). Out: float32[dim], not length-normalised,
checked to be finite and non-zero. A backend computes a batch; the batcher owns the queue and one
worker thread for each backend, so that windows of different calls share a batch.
Never changes a number by what is batched beside it (cosine >= 1 - 1e-6 to batch 1), never waits
for room in its queue, and never lets one window's failure reach another caller.
"""
