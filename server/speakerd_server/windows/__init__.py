"""Room 2: float32[n] samples of one signal at 16 kHz in, `Window`s worth embedding out.

In: samples of the whole continuous signal, in pieces of any length.
Out: `Window`: float32[N] PCM and int64[T] frame rows, in signal order, the same for every
way of splitting; and whether anything varies in a window.
Never: decodes bytes, computes features, averages, or keeps more than two windows of audio
(the whole signal where one window is asked for over all of it).
"""
