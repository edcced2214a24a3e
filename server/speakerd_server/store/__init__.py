"""The enrolment store: who is known, and the voiceprint of each.

In: recordings as numbers (float64[dim] sums with counts, never audio) and speaker ids of a domain.
Out: `Speaker` for operators, `Voiceprint` (float32[dim], length 1) and search hits (cosine).
SQLite is the record; what calls ask for is kept in memory and rebuilt from it at every start.
A change is answered when it is on disk; an erasure when no byte of the voiceprint is left.
Never waits on disk in `voiceprint` and `state`, never mixes models, never asks another room.
"""
