"""The speakerd SDK: live speaker verification in plain Python values.

`AsyncClient` and `Client` (blocking) talk to a daemon; `read_audio`, `read_wav`, `read_wav_scp` and
`pace` bring audio to it; results are frozen dataclasses; failures are the tree of `SpeakerdError`.
"""

from speakerd_client.audio import Audio, AudioFormat, Encoding, read_audio, read_wav
from speakerd_client.blocking import BlockingCall, Client
from speakerd_client.calls import EnrollmentCall, VerificationCall
from speakerd_client.client import AsyncClient
from speakerd_client.errors import (
    AudioFileError,
    CallEnded,
    Exhausted,
    FieldViolation,
    InvalidList,
    InvalidLoad,
    InvalidRequest,
    NotFound,
    NotOffered,
    NotPossible,
    NotReachable,
    OutputUnusable,
    ServerFailed,
    SpeakerdError,
    TooSlow,
    Unavailable,
)
from speakerd_client.extracting import ExtractedRecording
from speakerd_client.kaldi import ListedRecording, read_wav_scp
from speakerd_client.records import (
    EnrollFeedback,
    Enrollment,
    EnrollmentProgress,
    EnrollmentSettings,
    Health,
    Model,
    Recording,
    ServerInfo,
    Speaker,
    SpeakerState,
)
from speakerd_client.results import (
    CallSettings,
    Comparison,
    Decision,
    Embedding,
    Everyone,
    ModelIdentity,
    Policy,
    Score,
    ScoreScale,
    SpeakerScore,
    Verification,
)
from speakerd_client.source import pace

__all__ = [
    "AsyncClient",
    "Audio",
    "AudioFileError",
    "AudioFormat",
    "BlockingCall",
    "CallEnded",
    "CallSettings",
    "Client",
    "Comparison",
    "Decision",
    "Embedding",
    "Encoding",
    "EnrollFeedback",
    "Enrollment",
    "EnrollmentCall",
    "EnrollmentProgress",
    "EnrollmentSettings",
    "Everyone",
    "Exhausted",
    "ExtractedRecording",
    "FieldViolation",
    "Health",
    "InvalidList",
    "InvalidLoad",
    "InvalidRequest",
    "ListedRecording",
    "Model",
    "ModelIdentity",
    "NotFound",
    "NotOffered",
    "NotPossible",
    "NotReachable",
    "OutputUnusable",
    "Policy",
    "Recording",
    "Score",
    "ScoreScale",
    "ServerFailed",
    "ServerInfo",
    "Speaker",
    "SpeakerScore",
    "SpeakerState",
    "SpeakerdError",
    "TooSlow",
    "Unavailable",
    "Verification",
    "VerificationCall",
    "pace",
    "read_audio",
    "read_wav",
    "read_wav_scp",
]
