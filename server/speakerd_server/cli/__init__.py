"""speakerd's command line: one file for each command, or group of commands.

In: arguments. Out: text for people on stdout (`--json`: one JSON document), progress and messages
on stderr, and an exit code: 0 done, 1 done in part or the answer is no, 2 not done.
Never: does the work itself; what a command needs is imported when it runs, so that `speakerd -h`
is quick and works without the extras.
"""
