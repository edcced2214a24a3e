"""Models: where bundles are made, checked and read.

In: a bundle's folder (`model.onnx`, `card.toml`). Out: a `Bundle` value that an engine is given.
The recipe turns named weights into the bundle that is shipped under `shipped/`: one graph from
PCM float32[B, N] and rows int64[B, T] to embeddings float32[B, dim].
Never runs a model and never executes anything in a checkpoint. The daemon imports `bundle` and
`choice` alone; the modules that build graphs need the `export` extra.
"""
