"""Room 2: samples of one signal at 16 kHz in, how good they are and how wide their band out.

In: float32[n] samples, in pieces of any length. Out: `Quality` and `Band`, the same for every way
of splitting. Never: decides, waits, or keeps more than one second of audio.
"""
