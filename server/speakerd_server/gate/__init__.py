"""Room 2: float32[n] samples of one signal at 16 kHz in, those that are speech out.

In: samples in pieces of any length, and what the network says of their frames of 512.
Out: float32[n] samples of speech, joined, and where in the signal they come from; the same for
every way of splitting and whatever else is judged beside.
Never: decodes or cuts windows.
"""
