"""The speakerd SDK."""
