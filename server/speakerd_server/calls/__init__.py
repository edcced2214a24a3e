"""What a call is, once its request is checked: a hearing, and a claim or an enrolment.

`serving` is what all calls share (models, store, places, draining), `hearing` one signal on its way
through pipeline and engine, `claims` the verdicts on it, `enrolling` the recording stored from it.
Knows no protobuf and no gRPC: wire translates, and every other door can use the same calls.
"""
