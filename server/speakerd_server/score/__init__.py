"""Room 4: float32[dim] embeddings in, their running mean and scores out.

In: the window embeddings of one signal, in order, and the voiceprints to compare with.
Out: float64[dim] sums and means, and numbers that say their scale: cosine in [-1, 1],
similarity in [0, 1], asnorm and llr without ends; higher always means more alike.
Never: sees audio, fetches a voiceprint, or decides.
"""
