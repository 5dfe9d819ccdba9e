"""A machine whose ONNX Runtime has other providers: sessions are real, run on the processor, and say what they were asked."""

from __future__ import annotations

import onnxruntime

from lookalike.encoders.onnx import runtime

CUDA, COREML, CPU = "CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"
OTHERS = ["TensorrtExecutionProvider", "AzureExecutionProvider"]  # which nobody asks for


class Here:
    """What ONNX Runtime has on the machine that is played, and what sessions it was asked for."""

    def __init__(self):
        self.real = onnxruntime.InferenceSession
        self.there = [CPU]
        self.left_out = set()  # without their libraries: in the list, and in no session
        self.fails = set()  # those that can't open a model
        self.asked = []
        self.preloaded = 0

    def open(self, model, options, providers, **more):
        names = [p if isinstance(p, str) else p[0] for p in providers]
        self.asked.append(names)
        self.options, self.given, self.more = options, providers, more
        if self.fails.intersection(names):
            raise RuntimeError("out of memory on the device\nand more")
        session = self.real(model, options, [CPU], **more)
        session.get_providers = lambda: [name for name in names if name not in self.left_out]
        return session

    def preload(self):
        self.preloaded += 1
        print("Failed to load libcublas")


def played(monkeypatch):
    """Play such a machine until the test ends; nothing is asked for by name."""
    machine = Here()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*OTHERS, *machine.there])
    monkeypatch.setattr(onnxruntime, "InferenceSession", machine.open)
    monkeypatch.setattr(onnxruntime, "preload_dlls", machine.preload, raising=False)
    monkeypatch.setattr(runtime, "_UNUSABLE", set())
    monkeypatch.setenv(runtime.VARIABLE, "")  # as if it weren't set; what a test sets goes with it
    return machine
