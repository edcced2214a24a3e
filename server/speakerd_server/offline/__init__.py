"""Work over files: lists and recordings in, embeddings and decisions out.

In: wav.scp lists, audio files, Kaldi ark/scp, npz. Out: float32[dim] embeddings in the list's
order, as text, ark/scp or npz; and the comparison of two recordings.
It uses the rooms of the daemon (audio, windows, engine, score), so the numbers are the daemon's.
Never: listens on a port, opens the store, or runs what stands in a list.
"""
