"""speakerd: a daemon that verifies speakers while they speak."""

__version__ = "0.1.0"
