"""speakerctl: the SDK in the hand of a person or a script.

In: files, raw audio on standard input, options. Out: one answer on standard output, as text or as
JSON lines; progress and live views on a terminal only; errors on standard error; an exit code.
Never: a traceback for something that has a name, or anything that the SDK cannot do.
Needs the extra `cli` (typer, rich); `files` for other audio files than WAV.
"""
