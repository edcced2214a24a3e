"""Room 6, the only code that knows gRPC and protobuf: requests in, answers and named errors out.

Translation only: what a call means is decided by pipeline, claims, store and decision. Every
servicer method runs inside `edge.answered`, which turns each error of errors.py into a status with
google.rpc.ErrorInfo, and anything else into INTERNAL without a word of its traceback.
Never computes on audio, never touches the store but through its public methods.
"""
