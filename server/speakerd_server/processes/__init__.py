"""The daemon as several processes: front ends on one port, an engine for each device, one store.

The supervisor starts them, starts them again, and answers operators for all. Front ends ask the
store by messages and hand windows to engines through shared memory. In: settings. Out: one daemon
that looks from outside as one process does. A process that ends harms its own calls or its own
batch alone. Never: a decision about audio, a score, or anything that one process does otherwise.
"""
