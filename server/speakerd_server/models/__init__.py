"""Models: where bundles are made, checked and read.

In: a bundle's folder (`model.onnx`, `card.toml`). Out: a `Bundle` value that an engine is given.
The recipe turns named weights into the bundle that is shipped under `shipped/`: one graph from
PCM float32[B, N] and rows int64[B, T] to embeddings float32[B, dim].
Never executes anything in a checkpoint, and runs a model only to try it before it is written. The
daemon imports `bundle` and `choice` alone; the modules that build graphs need the `models` extra.
"""
