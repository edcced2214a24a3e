"""The load engine: paced live streams and closed loops against a daemon, and what came of them.

In: a `LivePlan` or a `ClosedPlan` and tracks of audio. Out: frozen results, times in milliseconds.
`runs` and `capacity` have the entry points; `plan`, `sound`, `voice`, `transcode` and `g711` say
what is sent; `windows`, `course`, `stream_log`, `stream`, `live`, `asking`, `closed` work inside a
generating process, which is `worker`; `crew` starts and feeds it by `orders`; `samples` and `tally`
count; `search` looks for the most streams; `facts` and the `_result` modules sum up.
Never: numpy, audio or requests made anew for each message, or a lag that a late sender hides.
"""
