"""What Linux says of the processor is what torch finds."""

import platform

import pytest
import torch

from comdefend.common import processor

X86 = "processor: 0\nflags\t\t: fpu avx2 {}\n"
ARM = "processor: 0\nFeatures\t: fp asimd {}\n"


@pytest.fixture
def told(monkeypatch):
    """Make the processor another one, by what /proc/cpuinfo says."""

    def tell(text):
        class Cpuinfo:
            def __init__(self, path):
                assert path == "/proc/cpuinfo"

            def is_file(self):
                return True

            def read_text(self, encoding):
                return text

        monkeypatch.setattr(processor, "Path", Cpuinfo)
        processor.processor_flags.cache_clear()

    yield tell
    monkeypatch.undo()
    processor.processor_flags.cache_clear()


def test_flags_are_those_that_torch_finds():
    found = {name for name, has in torch.cpu.get_capabilities().items() if has is True}
    assert processor.processor_flags() == found & processor._FLAGS


@pytest.mark.parametrize(
    ("text", "kind", "bits", "bf16"),
    [
        (X86.format(""), "avx2", 7, False),
        (X86.format("avx_vnni"), "avx2", 8, False),
        (X86.format("avx512f"), "avx512", 7, False),
        (X86.format("avx512f avx512_vnni avx512_bf16"), "avx512", 8, True),
        (X86.format("avx512f avx512_vnni amx_int8 amx_bf16"), "amx", 8, True),
        (ARM.format("asimddp bf16"), "arm", 8, True),
        (ARM.format(""), "arm", None, False),
    ],
)
def test_classes_of_processors(told, monkeypatch, text, kind, bits, bf16):
    told(text)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64" if "asimd" in text else "x86_64")
    assert processor.processor_class() == kind
    assert processor.filter_bits() == bits
    assert processor.native_bf16("cpu") is bf16
