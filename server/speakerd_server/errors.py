"""Every failure that speakerd can name.

SpeakerdError
├── InvalidInput                 the client's bytes or fields are wrong
│   ├── ConfigMissing  ConfigRepeated  RequestEmpty
│   ├── NoAudio  AudioTooShort  AudioTooLong  AudioMessageTooLarge
│   ├── AudioIncompleteSample  AudioNotFinite  AudioOutOfRange  AudioWithoutVoice
│   ├── EncodingUnsupported  SampleRateUnsupported  SampleRateContradicted
│   ├── ChannelsUnsupported  ChannelUnknown  AudioFileInvalid
│   ├── SamplesPerChunkInvalid  PolicyInvalid  ScaleUnavailable  SequentialUnavailable
│   ├── TensorInvalid  BatchSizeInvalid  InferenceUnsupported
│   ├── HttpInvalid  BodyInvalid  BodyTooLarge
│   └── SpeakerIdInvalid  GroupNameInvalid  PageTokenInvalid  FieldInvalid
├── NotFound                     ModelUnknown  DomainUnknown  SpeakerUnknown  GroupUnknown
│                                RecordingUnknown  PathUnknown  MethodUnsupported
├── NotPossible                  ModelMismatch  NotEnoughSpeech  TooManyRecordings
│                                PoorAudio  DifferentSpeaker  MultipleSpeakers
│                                SpeakerOptedOut  SpeakerNotOptedOut
│                                GroupExists  TooManyGroups  TooManyMembers
│                                TooManyMemberships  TooManyCallerEnrolments
│                                ModelRefused  ModelIsDefault
├── Exhausted                    TooManyStreams  TooManyCalls  EngineBusy  EngineQueueFull  GateBusy
│                                StoreFull  StoreBusy  ModelsBusy
├── NotAvailable                 Draining  EngineDead  EngineLost  DeviceLost  StoreUnavailable
│                                StoreInterrupted  ErasureIncomplete  RemoteEngineUnavailable
│                                GateStopped
├── TooSlow                      StreamIdle  ClientNotReading  BodyTooSlow
├── EngineFailed                 BatchFailed  EmbeddingInvalid  DeviceOutOfMemory  GateFailed
├── StoreCorrupt
├── StartFailed                  SettingInvalid  ModelDamaged  ModelUnusable  AddressUnavailable
│                                StoreUnusable  DeviceUnavailable  OnnxRuntimeTwice  ProcessFailed
│                                EngineFileRefused  EngineFileMissing  EngineBuildFailed
│                                RemoteEngineRefused
└── JobFailed                    a command over files cannot do its work
    ├── ExtraMissing  OutputUnusable  OptionInvalid
    ├── ListInvalid  AudioFileUnusable  VectorsUnusable
    ├── CheckpointRefused  ExperimentRefused  ArchitectureUnknown  GraphRefused  FrontEndDiffers
    └── TrialsUnusable  CohortTooSmall  CohortWithoutSpread  TooFewTrials  ProfileUnusable
        DurationsMissing

`reason` is stable and goes on the wire; `field` names the request field that is wrong, if any;
numbers are attributes. wire/status.py maps every class to a gRPC code, and
wire/kserve_http_status.py to a status of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar


class SpeakerdError(Exception):
    """A failure with a name; str() tells the user what to do."""

    reason: ClassVar[str] = "INTERNAL"
    field: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let one process of a daemon raise what another one names."""
        return _named_again, (type(self), self.args, self.__dict__)

    @property
    def told(self) -> str:
        """What the client is told; str() may say more to the operator."""
        return str(self)


def _named_again(
    kind: type[SpeakerdError], arguments: tuple[Any, ...], numbers: dict[str, Any]
) -> SpeakerdError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(numbers)
    return error


class InvalidInput(SpeakerdError):
    """The client's bytes or fields are wrong."""


class NotFound(SpeakerdError):
    """Something named by the client does not exist."""


class NotPossible(SpeakerdError):
    """The request is well formed but the state of the daemon does not allow it."""


class Exhausted(SpeakerdError):
    """No room now."""

    retry_after_s: float | None = 1.0


class NotAvailable(SpeakerdError):
    """A part of the daemon is not there now."""

    retry_after_s: float | None = 1.0


class TooSlow(SpeakerdError):
    """The client did nothing for too long."""


class EngineFailed(SpeakerdError):
    """The engine could not embed this window; others are not concerned."""


class StartFailed(SpeakerdError):
    """The daemon cannot start."""


class JobFailed(SpeakerdError):
    """A command over files cannot do its work; never on the wire."""


class ConfigMissing(InvalidInput):
    """Audio, or the end of the stream, came before the config."""

    reason = "CONFIG_MISSING"
    field = "config"

    def __init__(self) -> None:
        super().__init__("`config` is missing; in a stream, the first message must set it")


class ConfigRepeated(InvalidInput):
    """A second config came in one stream."""

    reason = "CONFIG_REPEATED"
    field = "config"

    def __init__(self) -> None:
        super().__init__("`config` may be set in the first message only; open a new call instead")


class RequestEmpty(InvalidInput):
    """A stream message set neither config nor audio."""

    reason = "REQUEST_EMPTY"

    def __init__(self) -> None:
        super().__init__("a message of the stream set neither `config` nor `audio`")


class NoAudio(InvalidInput):
    """The audio ended before its first byte."""

    reason = "NO_AUDIO"
    field = "audio"

    def __init__(self) -> None:
        super().__init__("no audio was sent; send at least 25 ms before ending the call")


class AudioTooShort(InvalidInput):
    """Less audio than one frame, or than the network can take."""

    reason = "AUDIO_TOO_SHORT"
    field = "audio"

    def __init__(self, samples: int, needed_samples: int, sample_rate_hz: int) -> None:
        self.samples, self.needed_samples = samples, needed_samples
        self.sample_rate_hz = sample_rate_hz
        super().__init__(
            f"the audio has {1000 * samples / sample_rate_hz:.1f} ms, at least"
            f" {1000 * needed_samples / sample_rate_hz:.0f} ms are needed for an embedding"
        )


class AudioTooLong(InvalidInput):
    """More audio than one call may carry."""

    reason = "AUDIO_TOO_LONG"
    field = "audio"

    def __init__(self, limit_s: float, advice: str) -> None:
        self.limit_s = limit_s
        super().__init__(f"the audio is longer than {limit_s:g} s; {advice}")


class AudioMessageTooLarge(InvalidInput):
    """One audio message of a stream is too large."""

    reason = "AUDIO_MESSAGE_TOO_LARGE"
    field = "audio"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes
        super().__init__(
            f"an audio message has {size_bytes} bytes, at most {limit_bytes} are allowed;"
            " send smaller pieces"
        )


class AudioIncompleteSample(InvalidInput):
    """The audio ended inside a sample."""

    reason = "AUDIO_INCOMPLETE_SAMPLE"
    field = "audio"

    def __init__(self, extra_bytes: int, sample_bytes: int, encoding: str) -> None:
        self.extra_bytes, self.sample_bytes = extra_bytes, sample_bytes
        super().__init__(
            f"the audio ended inside a sample: {extra_bytes} byte(s) are left over and one sample"
            f" of {encoding} has {sample_bytes}; check the encoding and the end of the audio"
        )


class AudioNotFinite(InvalidInput):
    """A float sample is NaN or infinite."""

    reason = "AUDIO_NOT_FINITE"
    field = "audio"

    def __init__(self, sample_index: int) -> None:
        self.sample_index = sample_index
        super().__init__(
            f"sample {sample_index} is NaN or infinite; send finite floats with full scale 1.0"
        )


class AudioOutOfRange(InvalidInput):
    """A float sample is too large to be audio of any scale."""

    reason = "AUDIO_OUT_OF_RANGE"
    field = "audio"

    def __init__(self, sample_index: int, value: float, limit: float) -> None:
        self.sample_index, self.value, self.limit = sample_index, value, limit
        super().__init__(
            f"sample {sample_index} is {value:g}, beyond ±{limit:g};"
            " send floats with full scale 1.0"
        )


class AudioWithoutVoice(InvalidInput):
    """Nothing varies in any window of the audio, or no speech in it makes a window."""

    reason = "AUDIO_WITHOUT_VOICE"
    field = "audio"

    def __init__(self, windows: int) -> None:
        self.windows = windows
        heard = f"nothing varies in the audio ({windows} window(s) of silence, a constant or one"
        heard += " frame repeated)"
        if not windows:
            heard = "no speech was heard in the audio that is long enough for a window"
        super().__init__(
            f"{heard}, so there is no voice to embed; check the microphone and the encoding"
        )


class EncodingUnsupported(InvalidInput):
    """The encoding is unset or unknown."""

    reason = "ENCODING_UNSUPPORTED"
    field = "audio_format.encoding"

    def __init__(self, value: object, known: Sequence[str]) -> None:
        self.value = value
        super().__init__(f"encoding {value} is not supported; use one of {', '.join(known)}")


class SampleRateUnsupported(InvalidInput):
    """The sample rate is out of range."""

    reason = "SAMPLE_RATE_UNSUPPORTED"
    field = "audio_format.sample_rate_hz"

    def __init__(self, sample_rate_hz: int, lowest_hz: int, highest_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        super().__init__(
            f"sample rate {sample_rate_hz} Hz is not supported; use {lowest_hz} to {highest_hz} Hz"
        )


class SampleRateContradicted(InvalidInput):
    """A file has another sample rate than the client says."""

    reason = "SAMPLE_RATE_CONTRADICTED"
    field = "audio_format.sample_rate_hz"

    def __init__(self, stated_hz: int, found_hz: int) -> None:
        self.stated_hz, self.found_hz = stated_hz, found_hz
        super().__init__(
            f"the file has {found_hz} Hz and the format says {stated_hz} Hz;"
            " leave it unset for files"
        )


class ChannelsUnsupported(InvalidInput):
    """The audio has more channels than are taken, or not as many as the client says."""

    reason = "CHANNELS_UNSUPPORTED"
    field = "audio_format.channels"

    def __init__(self, channels: int, stated: int = 0) -> None:
        self.channels, self.stated = channels, stated
        problem = "1 or 2 are taken; send those of one call"
        if stated and stated != channels:
            problem = f"the format says {stated}; leave it unset for files"
        super().__init__(f"the audio has {channels} channels, {problem}")


class ChannelUnknown(InvalidInput):
    """The chosen channel is not there, or none was chosen of two."""

    reason = "CHANNEL_UNKNOWN"
    field = "audio_format.channel"

    def __init__(self, channel: int, channels: int) -> None:
        self.channel, self.channels = channel, channels
        problem = f"channel {channel} is not there, with {channels} in all"
        if not channel:
            problem = "there are two channels"
        super().__init__(f"{problem}; set `channel` to 1 or 2, that of the person to be heard")


class AudioFileInvalid(InvalidInput):
    """A file is not what it should be, or is damaged."""

    reason = "AUDIO_FILE_INVALID"
    field = "audio"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the audio file cannot be used: {problem}")


class SamplesPerChunkInvalid(InvalidInput):
    """The window length is not one that the model can take."""

    reason = "SAMPLES_PER_CHUNK_INVALID"
    field = "samples_per_chunk"

    def __init__(self, value: int, lowest: int, highest: int) -> None:
        self.value, self.lowest, self.highest = value, lowest, highest
        super().__init__(
            f"samples_per_chunk {value} is not possible;"
            f" use {lowest} to {highest}, or -1 for one window over the whole signal"
        )


class PolicyInvalid(InvalidInput):
    """The policy contradicts itself or leaves its scale."""

    reason = "POLICY_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        self.field = f"policy.{field}"
        super().__init__(f"policy.{field}: {problem}")


class SequentialUnavailable(InvalidInput):
    """The model has no boundaries for the error rates that a policy asks for."""

    reason = "SEQUENTIAL_UNAVAILABLE"
    field = "policy.sequential"

    def __init__(
        self, target_far: float, target_frr: float, known: Sequence[tuple[float, float]]
    ) -> None:
        self.target_far, self.target_frr, self.known = target_far, target_frr, tuple(known)
        there = ", ".join(f"{far:g} and {frr:g}" for far, frr in self.known)
        advice = (
            f"it has them for {there}"
            if there
            else "it has none; learn them with `speakerd evaluate --sequential`"
        )
        super().__init__(
            f"the model has no boundaries for target_far {target_far:g} and target_frr"
            f" {target_frr:g}: {advice}"
        )


class ScaleUnavailable(InvalidInput):
    """The score scale exists but this model cannot give it."""

    reason = "SCALE_UNAVAILABLE"
    field = "policy.scale"

    def __init__(self, scale: str, available: Sequence[str]) -> None:
        self.scale, self.available = scale, tuple(available)
        super().__init__(
            f"scores on the scale {scale} are not available for this model;"
            f" use {' or '.join(available)}"
        )


class SpeakerIdInvalid(InvalidInput):
    """A speaker id has a form that is not allowed."""

    reason = "SPEAKER_ID_INVALID"
    field = "speaker_id"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the speaker id {problem}; use 1 to 256 characters without '/', control characters"
            " or blanks at the ends"
        )


class GroupNameInvalid(InvalidInput):
    """A name of a group has a form that is not allowed."""

    reason = "GROUP_NAME_INVALID"
    field = "name"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name[:80]!r} cannot be the name of a group; use 1 to 64 letters, digits, '.', '_'"
            " and '-', the first a letter or digit"
        )


class PageTokenInvalid(InvalidInput):
    """A page token was not made by this daemon."""

    reason = "PAGE_TOKEN_INVALID"
    field = "page_token"

    def __init__(self) -> None:
        super().__init__("page_token is not one that this list gave; leave it empty to start")


class FieldInvalid(InvalidInput):
    """A field of a request is out of its range."""

    reason = "FIELD_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}: {problem}")


class TensorInvalid(InvalidInput):
    """A tensor of an inference request has a wrong name, datatype, shape or size."""

    reason = "TENSOR_INVALID"

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.field = name, name
        super().__init__(f"{problem} (tensor '{name}')")


class BatchSizeInvalid(InvalidInput):
    """An inference request has no utterances, or more than one may have."""

    reason = "BATCH_SIZE_INVALID"
    field = "shape"

    def __init__(self, model: str, size: int, limit: int) -> None:
        self.model, self.size, self.limit = model, size, limit
        super().__init__(
            f"inference request batch-size must be from 1 to {limit} for '{model}', it is {size}"
        )


class InferenceUnsupported(InvalidInput):
    """An inference request asks for an extension that is not there."""

    reason = "INFERENCE_UNSUPPORTED"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}: this server does not support that")


class HttpInvalid(InvalidInput):
    """What came over HTTP is no request."""

    reason = "HTTP_INVALID"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"this is no HTTP request: {problem}")


class BodyInvalid(InvalidInput):
    """The body of an HTTP request cannot be read."""

    reason = "BODY_INVALID"
    field = "body"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the body {problem}")


class BodyTooLarge(InvalidInput):
    """The body of an HTTP request is too large, as sent or once it is decompressed."""

    reason = "BODY_TOO_LARGE"
    field = "body"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            f"the body has more than {limit_bytes} bytes, the most that is taken, decompressed;"
            " send fewer utterances at once, or binary data in place of JSON"
        )


class PathUnknown(NotFound):
    """HTTP has no such path."""

    reason = "PATH_UNKNOWN"

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        super().__init__(f"there is no {method[:16]} {path[:128]}; see protos/README.md")


class MethodUnsupported(NotFound):
    """HTTP has that path, but not with that method."""

    reason = "METHOD_UNSUPPORTED"

    def __init__(self, method: str, path: str, offered: str) -> None:
        self.method, self.path, self.offered = method, path, offered
        super().__init__(f"{path[:128]} takes {offered}, not {method[:16]}")


class ModelUnknown(NotFound):
    """No such model is loaded, or there to be loaded."""

    reason = "MODEL_UNKNOWN"
    field = "model"

    def __init__(self, name: str, known: Sequence[str], what: str = "is loaded") -> None:
        self.name = name
        super().__init__(f"no model {name!r} {what}; there is {', '.join(known)}")

    @classmethod
    def for_inference(cls, name: str, version: str = "") -> ModelUnknown:
        """Say that no model of that name and version answers inference requests, as Triton does."""
        error = cls(name, ())
        which = f"'{name}' version {version}" if version else f"'{name}'"
        error.args = (f"Request for unknown model: {which} is not found",)
        return error


class DomainUnknown(NotFound):
    """No such domain is in the settings."""

    reason = "DOMAIN_UNKNOWN"
    field = "domain"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no domain {name!r} is in the daemon's settings")


class SpeakerUnknown(NotFound):
    """No such speaker is in the domain."""

    reason = "SPEAKER_UNKNOWN"
    field = "speaker_id"

    def __init__(self, domain: str, speaker_id: str) -> None:
        self.domain, self.speaker_id = domain, speaker_id
        super().__init__(f"no speaker {speaker_id!r} is in domain {domain!r}")


class GroupUnknown(NotFound):
    """No such group is in the domain."""

    reason = "GROUP_UNKNOWN"
    field = "group"

    def __init__(self, domain: str, name: str) -> None:
        self.domain, self.name = domain, name
        super().__init__(
            f"no group {name!r} is in domain {domain!r}; ListGroups tells which are, CreateGroup"
            " makes one"
        )


class RecordingUnknown(NotFound):
    """The speaker has no such recording."""

    reason = "RECORDING_UNKNOWN"
    field = "remove_recording_ids"

    def __init__(self, speaker_id: str, recording_id: str) -> None:
        self.speaker_id, self.recording_id = speaker_id, recording_id
        super().__init__(f"speaker {speaker_id!r} has no recording {recording_id!r}")


class ModelMismatch(NotPossible):
    """Embeddings of two models would be mixed."""

    reason = "MODEL_MISMATCH"
    field = "model"

    def __init__(self, speaker_id: str, enrolled: str, wanted: str) -> None:
        self.speaker_id, self.enrolled, self.wanted = speaker_id, enrolled, wanted
        super().__init__(
            f"speaker {speaker_id!r} was enrolled with {enrolled} and this call uses {wanted};"
            " use that model, or enrol the speaker anew"
        )


class NotEnoughSpeech(NotPossible):
    """A recording has less net speech than its enrolment needs."""

    reason = "NOT_ENOUGH_SPEECH"
    field = "audio"

    def __init__(self, speech_s: float, needed_s: float) -> None:
        self.speech_s, self.needed_s = speech_s, needed_s
        super().__init__(
            f"the recording has {speech_s:.2f} s of speech, {needed_s:g} s are needed;"
            f" record {max(0.0, needed_s - speech_s):.2f} s more (nothing was stored)"
        )


class PoorAudio(NotPossible):
    """The audio is too bad to be enrolled."""

    reason = "POOR_AUDIO"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"the recording is too bad to be enrolled: {problem} (nothing was stored);"
            " record it again in a quiet place"
        )


class DifferentSpeaker(NotPossible):
    """A recording is unlike the speaker's earlier ones."""

    reason = "DIFFERENT_SPEAKER"

    def __init__(self, cosine: float, least: float) -> None:
        self.cosine, self.least = cosine, least
        super().__init__(
            f"this recording is unlike the speaker's earlier ones: cosine {cosine:.3f} is below"
            f" {least:g} (nothing was stored); two people may be enrolled under one id, or set"
            " `force`"
        )


class MultipleSpeakers(NotPossible):
    """The windows of a recording are unlike each other."""

    reason = "MULTIPLE_SPEAKERS"

    def __init__(self, cosine: float, least: float) -> None:
        self.cosine, self.least = cosine, least
        super().__init__(
            f"the windows of this recording are unlike each other: mean cosine {cosine:.3f} is"
            f" below {least:g} (nothing was stored); several people may be speaking in it, record"
            " one alone, or set `force`"
        )


class SpeakerOptedOut(NotPossible):
    """The person asked not to be known by voice."""

    reason = "SPEAKER_OPTED_OUT"
    field = "speaker_id"

    def __init__(self, speaker_id: str) -> None:
        self.speaker_id = speaker_id
        super().__init__(
            f"speaker {speaker_id!r} has opted out: nothing is enrolled, and the opt-out is not"
            " forgotten by a deletion, until AllowSpeaker lifts it (nothing was changed)"
        )


class SpeakerNotOptedOut(NotPossible):
    """There is no opt-out to lift."""

    reason = "SPEAKER_NOT_OPTED_OUT"
    field = "speaker_id"

    def __init__(self, speaker_id: str) -> None:
        self.speaker_id = speaker_id
        super().__init__(
            f"speaker {speaker_id!r} has not opted out; GetSpeaker tells the state"
            " (nothing was changed)"
        )


class TooManyRecordings(NotPossible):
    """A speaker has as many recordings as one may."""

    reason = "TOO_MANY_RECORDINGS"
    field = "speaker_id"

    def __init__(self, speaker_id: str, limit: int) -> None:
        self.speaker_id, self.limit = speaker_id, limit
        super().__init__(
            f"speaker {speaker_id!r} has {limit} recordings, the most; remove some with"
            " UpdateSpeaker first (nothing was stored)"
        )


class GroupExists(NotPossible):
    """A group of that name is there already."""

    reason = "GROUP_EXISTS"
    field = "name"

    def __init__(self, domain: str, name: str) -> None:
        self.domain, self.name = domain, name
        super().__init__(
            f"domain {domain!r} has a group {name!r} already; add to it with UpdateGroup, or choose"
            " another name (nothing was changed)"
        )


class TooManyGroups(NotPossible):
    """A domain has as many groups as it may."""

    reason = "TOO_MANY_GROUPS"
    field = "name"

    def __init__(self, domain: str, limit: int) -> None:
        self.domain, self.limit = domain, limit
        super().__init__(
            f"domain {domain!r} has {limit} groups, the most; delete some with DeleteGroup first"
            " (nothing was changed)"
        )


class TooManyMembers(NotPossible):
    """A group would have more members than one may."""

    reason = "TOO_MANY_MEMBERS"
    field = "add_speaker_ids"

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit
        super().__init__(
            f"group {name!r} would have more than {limit} members, the most; use whole_domain for"
            " more people, or several groups (nothing was changed)"
        )


class TooManyMemberships(NotPossible):
    """A speaker would be in more groups than one may."""

    reason = "TOO_MANY_MEMBERSHIPS"
    field = "add_speaker_ids"

    def __init__(self, speaker_id: str, limit: int) -> None:
        self.speaker_id, self.limit = speaker_id, limit
        super().__init__(
            f"speaker {speaker_id!r} is in {limit} groups, the most; take it out of some with"
            " UpdateGroup first (nothing was changed)"
        )


class TooManyCallerEnrolments(NotPossible):
    """One call enrols its caller more often than it may."""

    reason = "TOO_MANY_CALLER_ENROLMENTS"
    field = "enroll_caller"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"this call has enrolled its caller, or tried to, {limit} times, the most; use"
            " EnrollSpeaker for more (nothing was stored)"
        )


class ModelRefused(NotPossible):
    """A model cannot be loaded, or does not embed."""

    reason = "MODEL_REFUSED"
    field = "model"

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"the model {name} cannot be used: {problem}")


class ModelIsDefault(NotPossible):
    """The model of calls that name none would be gone."""

    reason = "MODEL_IS_DEFAULT"
    field = "model"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} is the only version of the default model; load another model with make_default"
            " first"
        )


class TooManyStreams(Exhausted):
    """Every place for a live call is taken."""

    reason = "TOO_MANY_STREAMS"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} calls are going on, the most this daemon takes; try later")


class TooManyCalls(Exhausted):
    """Every place for a unary call is taken."""

    reason = "TOO_MANY_CALLS"

    def __init__(self, calls: int, limit_mib: int) -> None:
        self.calls, self.limit_mib = calls, limit_mib
        super().__init__(
            f"{calls} unary calls are going on, and this daemon takes no more of them or no more"
            f" than {limit_mib} MiB of their audio at once; try later"
        )


class EngineBusy(Exhausted):
    """Live windows wait longer for the engine than new calls may."""

    reason = "ENGINE_BUSY"

    def __init__(self, waited_s: float, limit_s: float) -> None:
        self.waited_s, self.limit_s = waited_s, limit_s
        super().__init__(
            f"live calls wait {waited_s:.1f} s for the engine, and new ones are taken up to"
            f" {limit_s:g} s; try later, or another daemon"
        )


class EngineQueueFull(Exhausted):
    """The engine has as many windows waiting as it takes."""

    reason = "ENGINE_QUEUE_FULL"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} windows wait for the engine, the most it takes; try later")


class GateBusy(Exhausted):
    """The speech gate has as many frames waiting as it takes."""

    reason = "GATE_BUSY"

    def __init__(self, waiting_frames: int, limit: int) -> None:
        self.waiting_frames, self.limit = waiting_frames, limit
        super().__init__(
            f"{waiting_frames} frames wait for the speech gate, which takes {limit}; try later"
        )


class StoreFull(Exhausted):
    """The disk or the database has no room left."""

    reason = "STORE_FULL"
    retry_after_s = None

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            "the enrolment store has no room left on its disk; nothing was stored or changed;"
            " free some space on the daemon's machine"
        )


class StoreBusy(Exhausted):
    """Too many changes wait for the store."""

    reason = "STORE_BUSY"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} changes wait for the enrolment store, the most; try later")


class ModelsBusy(Exhausted):
    """Too many changes of the loaded models wait for each other."""

    reason = "MODELS_BUSY"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} changes of the loaded models wait, the most; try later")


class Draining(NotAvailable):
    """The daemon is about to stop, or was taken out of service."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("the daemon takes no new calls now; use another one or try later")


class EngineDead(NotAvailable):
    """A worker of the engine has died."""

    reason = "ENGINE_DEAD"
    retry_after_s = None

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the engine has died ({cause}); the daemon must be restarted")


class GateStopped(NotAvailable):
    """The speech gate is being stopped with its daemon."""

    reason = "GATE_STOPPED"

    def __init__(self) -> None:
        super().__init__("the daemon is stopping, and its speech gate with it; send the call again")


class DeviceLost(NotAvailable):
    """The GPU can do nothing more for this process; the worker that sees it dies of it."""

    reason = "DEVICE_LOST"
    retry_after_s = None

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the GPU can do nothing more for this process: {cause}")


class EngineLost(NotAvailable):
    """The process of an engine ended while it computed this window."""

    reason = "ENGINE_LOST"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} ended before it had embedded this audio; it is being started again,"
            " send the call once more"
        )


class RemoteEngineUnavailable(NotAvailable):
    """The server that embeds for this daemon is away, or did not answer in time."""

    reason = "REMOTE_ENGINE_UNAVAILABLE"

    def __init__(self, address: str, cause: str) -> None:
        self.address, self.cause = address, cause
        super().__init__(
            f"the engine at {address} did not embed this audio ({cause}); send the call once more"
        )

    @property
    def told(self) -> str:
        """The same without the daemon's network."""
        return (
            "the engine that embeds for this daemon is not there or too slow now; send the call"
            " once more"
        )


class StoreUnavailable(NotAvailable):
    """The store could not read or write now."""

    reason = "STORE_UNAVAILABLE"

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the enrolment store cannot be used now ({cause}); nothing was changed")


class StoreInterrupted(NotAvailable):
    """The store's process ended between taking a change and answering it."""

    reason = "STORE_INTERRUPTED"
    retry_after_s = None

    def __init__(self) -> None:
        super().__init__(
            "the enrolment store ended while it worked on this change, which may or may not have"
            " been made; look at the speaker before you send it again"
        )


class ErasureIncomplete(NotAvailable):
    """Recordings were deleted, but their bytes may still be on the disk."""

    reason = "ERASURE_INCOMPLETE"

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            "the recordings are deleted and used no more, but old bytes of them may still be on"
            f" the disk ({cause}); send the call again to finish: a deletion is then answered by"
            " not found, an enrolment, of which nothing was stored yet, is stored"
        )


class StreamIdle(TooSlow):
    """The client sent nothing for too long."""

    reason = "STREAM_IDLE"

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(
            f"nothing was received for {limit_s:g} s; send audio as it comes and half-close the"
            " call at its end"
        )


class ClientNotReading(TooSlow):
    """The client did not take our answers for too long."""

    reason = "CLIENT_NOT_READING"

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"answers were not read for {limit_s:g} s; read them as they come")


class BodyTooSlow(TooSlow):
    """The body of an HTTP request did not come in time."""

    reason = "BODY_TOO_SLOW"

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"the body was not complete after {limit_s:g} s; send it at once")


class GateFailed(EngineFailed):
    """The speech gate could not judge this audio; other calls are not concerned."""

    reason = "GATE_FAILED"

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the speech gate could not judge this audio ({cause}); send it again")


class BatchFailed(EngineFailed):
    """The engine failed on this window."""

    reason = "ENGINE_BATCH_FAILED"

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the engine failed on this audio: {cause}")


class EmbeddingInvalid(EngineFailed):
    """The engine answered with something that is no embedding."""

    reason = "EMBEDDING_INVALID"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the engine's embedding {problem}; the audio may be damaged")


class DeviceOutOfMemory(EngineFailed):
    """The GPU has no memory left for this batch, however small it was made."""

    reason = "DEVICE_OUT_OF_MEMORY"

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the GPU has no memory left for this audio: {cause}")


class StoreCorrupt(SpeakerdError):
    """The database file is damaged."""

    reason = "STORE_CORRUPT"

    def __init__(self, path: Path, cause: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(
            f"the enrolment database {path} is damaged ({cause}); put a backup in its place, or"
            " move it away to start with an empty one"
        )

    @property
    def told(self) -> str:
        """The same without the daemon's files."""
        return (
            "the enrolment database is damaged; whoever operates the daemon finds more in its log"
        )


class SettingInvalid(StartFailed):
    """A setting is unknown, of the wrong type or out of its range."""

    reason = "SETTING_INVALID"

    def __init__(self, name: str, source: str, problem: str) -> None:
        self.name, self.source = name, source
        super().__init__(f"setting {name} (from {source}): {problem}")


class ModelDamaged(StartFailed):
    """A model file is not the one its card describes."""

    reason = "MODEL_DAMAGED"

    def __init__(self, path: Path, found_sha256: str, wanted_sha256: str) -> None:
        self.path, self.found_sha256, self.wanted_sha256 = path, found_sha256, wanted_sha256
        super().__init__(
            f"the model file {path} is damaged: its SHA-256 is {found_sha256}, the card says"
            f" {wanted_sha256}; put the right file there (a shipped one comes with the package)"
        )


class ModelUnusable(StartFailed):
    """A model bundle cannot be loaded."""

    reason = "MODEL_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the model bundle {path} cannot be used: {problem}")


class CheckpointRefused(JobFailed):
    """A checkpoint to make a bundle from is not what the recipe needs."""

    reason = "CHECKPOINT_REFUSED"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the checkpoint is refused: {problem}")


class AddressUnavailable(StartFailed):
    """The daemon cannot listen where it should."""

    reason = "ADDRESS_UNAVAILABLE"

    def __init__(self, address: str, setting: str, cause: str) -> None:
        self.address, self.setting = address, setting
        super().__init__(f"cannot listen on {address}: {cause}; choose another {setting}")


class StoreUnusable(StartFailed):
    """The store's file cannot be opened or written."""

    reason = "STORE_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the enrolment store {path} cannot be used: {problem}")


class DeviceUnavailable(StartFailed):
    """A GPU was asked for that cannot be used."""

    reason = "DEVICE_UNAVAILABLE"

    def __init__(self, asked: str, found: str) -> None:
        self.asked, self.found = asked, found
        super().__init__(f"{asked} was asked for and cannot be used; found: {found}")


class OnnxRuntimeTwice(StartFailed):
    """Two packages of ONNX Runtime are installed over each other."""

    reason = "ONNXRUNTIME_TWICE"

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = tuple(packages)
        names = " ".join(packages)
        super().__init__(
            f"{' and '.join(packages)} are installed at once into the same folder, so neither is"
            f" whole; run: pip uninstall -y {names}; then install speakerd-server[cpu] or"
            " speakerd-server[gpu] again"
        )


class ProcessFailed(StartFailed):
    """One of the processes of a daemon cannot be started."""

    reason = "PROCESS_FAILED"

    def __init__(self, name: str, cause: str) -> None:
        self.name, self.cause = name, cause
        super().__init__(f"the process of the {name} cannot be started: {cause}")


class EngineFileRefused(StartFailed):
    """An engine file is damaged, or was built of or for something else."""

    reason = "ENGINE_FILE_REFUSED"

    def __init__(self, path: Path, problem: str, command: str) -> None:
        self.path, self.problem, self.command = path, problem, command
        super().__init__(f"the engine file {path} is refused: {problem}; build it anew: {command}")


class EngineFileMissing(StartFailed):
    """There is no engine file for this model, GPU and library, and none may be built now."""

    reason = "ENGINE_FILE_MISSING"

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        super().__init__(f"there is no engine file {path}; build it: {command}")


class RemoteEngineRefused(StartFailed):
    """A server that is to embed cannot be reached, or has another model."""

    reason = "REMOTE_ENGINE_REFUSED"

    def __init__(self, address: str, problem: str) -> None:
        self.address, self.problem = address, problem
        super().__init__(f"the engine at {address} cannot be used: {problem}")


class EngineBuildFailed(StartFailed):
    """TensorRT cannot build an engine of this model for this target."""

    reason = "ENGINE_BUILD_FAILED"

    def __init__(self, model: str, problem: str) -> None:
        self.model, self.problem = model, problem
        super().__init__(f"no engine of {model} was built: {problem}")


class ExtraMissing(JobFailed):
    """A command needs packages that are not installed."""

    reason = "EXTRA_MISSING"

    def __init__(self, extra: str, module: str) -> None:
        self.extra, self.module = extra, module
        super().__init__(
            f"this command needs {module}; install it with: pip install 'speakerd-server[{extra}]'"
        )


class OutputUnusable(JobFailed):
    """A file or folder cannot be written."""

    reason = "OUTPUT_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the output {path} cannot be written: {problem}")


class OptionInvalid(JobFailed):
    """An option of a command is out of its range or contradicts another."""

    reason = "OPTION_INVALID"

    def __init__(self, option: str, problem: str) -> None:
        self.option, self.problem = option, problem
        super().__init__(f"{option}: {problem}")


class ListInvalid(JobFailed):
    """A list (wav.scp, xvector.scp, trials, utt2spk) is not as it must be."""

    reason = "LIST_INVALID"

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        self.path, self.line, self.problem = path, line, problem
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {problem}")


class AudioFileUnusable(JobFailed):
    """An audio file cannot be read, or has the wrong channels."""

    reason = "AUDIO_FILE_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the audio file {path} cannot be used: {problem}")


class VectorsUnusable(JobFailed):
    """A file of embeddings (ark, npz, npy) is damaged or not what it must be."""

    reason = "VECTORS_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the embeddings in {path} cannot be used: {problem}")


class ExperimentRefused(JobFailed):
    """A WeSpeaker experiment's configuration is not one that can be exported."""

    reason = "EXPERIMENT_REFUSED"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the experiment {path} cannot be exported: {problem}")


class ArchitectureUnknown(JobFailed):
    """The network, or its pooling, is none that can be exported."""

    reason = "ARCHITECTURE_UNKNOWN"

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"the {kind} {name} cannot be exported; there is {', '.join(known)}")


class GraphRefused(JobFailed):
    """An ONNX file is no network that can become a bundle."""

    reason = "GRAPH_REFUSED"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the network {path} is refused: {problem}")


class FrontEndDiffers(JobFailed):
    """The front end's features are not those of torchaudio."""

    reason = "FRONT_END_DIFFERS"

    def __init__(self, difference: float, allowed: float) -> None:
        self.difference, self.allowed = difference, allowed
        super().__init__(
            f"nothing was written: the front end differs from torchaudio's by {difference:.2g} on"
            f" average, at most {allowed:.2g} is allowed; report this with the versions of both"
        )


class TrialsUnusable(JobFailed):
    """A trial list cannot be evaluated."""

    reason = "TRIALS_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the trials {path} cannot be evaluated: {problem}")


class CohortTooSmall(JobFailed):
    """A cohort has fewer embeddings than the scores of the top N need."""

    reason = "COHORT_TOO_SMALL"

    def __init__(self, count: int, top_n: int) -> None:
        self.count, self.top_n = count, top_n
        super().__init__(
            f"the cohort has {count} embedding(s), fewer than top N, {top_n};"
            " give a larger cohort or a smaller N"
        )


class CohortWithoutSpread(JobFailed):
    """The top N of a cohort are all equally alike to an embedding, so nothing can be divided by."""

    reason = "COHORT_WITHOUT_SPREAD"

    def __init__(self, top_n: int) -> None:
        self.top_n = top_n
        super().__init__(
            f"the {top_n} most alike of the cohort do not differ in their scores, which cannot be"
            " normalised by them; give N of at least 2 and a cohort of different speakers"
        )


class TooFewTrials(JobFailed):
    """What was asked for cannot be supported by so few trials."""

    reason = "TOO_FEW_TRIALS"

    def __init__(self, what: str, found: int, needed: int, of: str) -> None:
        self.found, self.needed = found, needed
        super().__init__(f"{what} needs at least {needed} {of}, there are {found}")


class ProfileUnusable(JobFailed):
    """A calibration profile is damaged or is one of another model."""

    reason = "PROFILE_UNUSABLE"

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"the calibration profile {path} cannot be used: {problem}")


class DurationsMissing(JobFailed):
    """A calibration counts with the net speech of both sides, and a trial does not have it."""

    reason = "DURATIONS_MISSING"

    def __init__(self, profile: str, found_s: float | None) -> None:
        self.profile, self.found_s = profile, found_s
        found = "there are none" if found_s is None else f"one is {found_s:g}"
        super().__init__(
            f"the calibration {profile} needs the seconds of speech of both sides, more than 0,"
            f" and {found}; give the recordings (--wav-scp), or a calibration without durations"
        )
