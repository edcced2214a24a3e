"""Room 1: the wire bytes of one channel in, float32[n] mono samples at the model's rate out.

In: chunks of bytes, split anywhere, even inside a sample, and the `AudioFormat` they are in.
Out: float32[n] samples, finite, full scale 1.0, the same for every way of splitting.
Never: cuts windows, judges what is in the audio, waits, or keeps more than 100 ms of it.
"""
