"""Judging arithmetic: tolerances with their reasons, the float32 rule, and synthetic models with weights like trained ones."""
