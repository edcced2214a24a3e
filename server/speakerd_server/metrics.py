"""Every metric, declared once, with its unit in the name; served as Prometheus text on HTTP."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

LIVE_STREAMS = Gauge(
    "speakerd_live_streams",
    "StreamVerify and StreamEnroll calls going on",
    multiprocess_mode="livesum",
)
QUEUED_WINDOWS = Gauge(
    "speakerd_queued_windows", "Windows waiting for the engine", multiprocess_mode="livesum"
)
WINDOWS_EMBEDDED = Counter(
    "speakerd_windows_embedded_total", "Windows embedded", ["model", "device"]
)
WINDOWS_WITHOUT_VARIANCE = Counter(
    "speakerd_windows_without_variance_total", "Windows left out because nothing varies in them"
)
LOUD_SAMPLES = Counter(
    "speakerd_loud_samples_total", "Samples of inference requests outside of [-1, 1]"
)
GATE_FRAMES = Counter(
    "speakerd_gate_frames_total", "Frames of 32 ms judged by the speech gate's network"
)
BATCH_WINDOWS = Histogram(
    "speakerd_batch_windows",
    "Windows in one batch",
    ["model", "device"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
QUEUE_SECONDS = Histogram(
    "speakerd_queue_seconds",
    "Time a window waits for the engine; kind is live or offline",
    ["model", "kind"],
    buckets=_SECONDS,
)
COMPUTE_SECONDS = Histogram(
    "speakerd_compute_seconds",
    "Time the engine takes for one batch",
    ["model", "device"],
    buckets=_SECONDS,
)
DECISION_LAG_SECONDS = Histogram(
    "speakerd_decision_lag_seconds",
    "From receiving the last sample of a window to writing its update",
    buckets=_SECONDS,
)
DECISIONS = Counter("speakerd_decisions_total", "Final decisions by kind", ["decision"])
REFUSALS = Counter("speakerd_refusals_total", "Calls that ended with an error", ["reason"])
ENROLMENTS = Counter("speakerd_enrolments_total", "Recordings enrolled")
ERASURES = Counter("speakerd_erasures_total", "Recordings erased")
WATCHLIST_HITS = Counter("speakerd_watchlist_hits_total", "Members of watchlists noticed in calls")
RESTARTS = Counter(
    "speakerd_restarts_total",
    "Processes that ended and were started again; process is worker, engine or store",
    ["process"],
)
